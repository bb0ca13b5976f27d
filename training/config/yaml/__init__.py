# SPDX-License-Identifier: Apache-2.0
"""YAML files read as YAML 1.2, and values written so that every reader gets the same ones back."""
