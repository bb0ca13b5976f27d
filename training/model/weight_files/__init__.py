# SPDX-License-Identifier: Apache-2.0
"""Weights in safetensors files, read and written in blocks of rows."""
