# SPDX-License-Identifier: Apache-2.0
"""Runs on this machine, and those whose run directory can be read from it."""
