# SPDX-License-Identifier: Apache-2.0
"""The driver: one start of a run, from the spec to its result."""
