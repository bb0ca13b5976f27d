# SPDX-License-Identifier: Apache-2.0
"""Runs on this machine, and runs whose directory can be read from it."""
