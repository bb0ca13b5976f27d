# SPDX-License-Identifier: Apache-2.0
"""The rows that a run took from each of several datasets, and how well it does on each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tadrib.training.config.metrics import PER_SOURCE
from tadrib.training.files.regular_file import read_own


class SourceRows(BaseModel):
    """One of several datasets of a run: its rows, those to train on, those that an epoch trains on (by weights more or
    fewer), and those held out."""

    name: str
    rows: int
    train_rows: int = 0
    epoch_rows: int = 0
    eval_rows: int | None = None

    @classmethod
    def of_report(cls, path: Path) -> list[SourceRows]:
        """Those of the data report at ``path``; none if a run has one dataset, or the report cannot be read."""
        try:
            report = json.loads(read_own(path) or b"{}")
            return [cls.model_validate(source) for source in report.get("sources", [])]
        except (ValueError, ValidationError, AttributeError, TypeError, RecursionError):
            return []

    def evaluation(self, metrics: Mapping[str, Any] | None) -> dict[str, float]:
        """Those of ``metrics`` (such as ``eval_math_loss``) that are of this dataset, by their plain names."""
        found = {each: (metrics or {}).get(f"eval_{self.name}_{each}") for each in PER_SOURCE}
        return {each: value for each, value in found.items() if value is not None}
