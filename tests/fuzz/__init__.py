# SPDX-License-Identifier: Apache-2.0
"""Fuzz: inputs by seed that must be accepted or refused with an error of ours; ``python -m tests.fuzz``."""
