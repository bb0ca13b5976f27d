# SPDX-License-Identifier: Apache-2.0
"""Run directories as everyone beside the driver sees them: lock, status, logs."""
