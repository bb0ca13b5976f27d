# SPDX-License-Identifier: Apache-2.0
"""Conflict: settings that are each fine and cannot hold together, once defaults have given way."""

from __future__ import annotations

from tadrib.training.config.rules import (  # noqa: F401  register their rules
    datasets,
    deepspeed,
    job,
    lora,
    methods,
    strategy,
)
from tadrib.training.config.rules.adjusters import settle
from tadrib.training.config.rules.common import broken_rules
from tadrib.training.config.view import View
from tadrib.training.errors import Problem


def conflicts(view: View) -> list[Problem]:
    """Rules broken by what the user set. Defaults are adjusted first, so they never cause a conflict
    themselves."""
    settled, _ = settle(view)
    return broken_rules(settled)
