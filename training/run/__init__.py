# SPDX-License-Identifier: Apache-2.0
"""The run directory: its metrics, checkpoints, result and report."""
