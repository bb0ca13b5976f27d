# SPDX-License-Identifier: Apache-2.0
"""Plots of a run: its metrics over its steps, with notes on values that cannot be drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

PANELS: dict[str, tuple[str, ...]] = {
    "Loss": ("loss", "eval_loss"),
    "Preference accuracy": ("rewards/accuracies", "eval_rewards/accuracies"),
    "Reward margin": ("rewards/margins", "eval_rewards/margins"),
    "Log-prob of a chosen token, change since the start": ("logps/chosen_drift",),
    "Learning rate": ("learning_rate",),
    "Gradient norm": ("grad_norm",),
    "Tokens per second": ("tokens_per_second",),
}
"""Plots by title, each with the metrics to draw if the run logged them."""

_LARGEST = 1e100
"""Largest value drawn. Axis layout adds and multiplies values, and would overflow near the float limit of 1.8e308."""


@dataclass(frozen=True, slots=True)
class Picture:
    """``svg`` is empty if no value can be drawn; ``notes`` say which values were left out."""

    title: str
    svg: str
    notes: list[str]


@dataclass(slots=True)
class _Series:
    """One metric: the points of its line, and those that are NaN, infinite or too large to draw."""

    label: str
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    beyond: list[tuple[int, float]] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        if abs(value) <= _LARGEST:
            self.steps.append(step)
            self.values.append(value)
        else:
            self.beyond.append((step, value))

    def note(self) -> str:
        step, value = self.beyond[0]
        count = len(self.beyond)
        others = f" and {count - 1:,} more values are" if count > 1 else " is"
        return f"{self.label}: {value:g} at step {step:,}{others} not drawn"


def pictures(rows: Sequence[Mapping[str, Any]], sources: Sequence[str] = ()) -> Iterator[Picture]:
    """One plot for each panel whose metrics occur in ``rows``, with a line for each of ``sources``, the datasets that
    are evaluated by themselves; every row has a ``step``."""
    for title, names in PANELS.items():
        lines = [(name, _label(name)) for name in names]
        held_out = [name.removeprefix("eval_") for name in names if name.startswith("eval_")]
        lines += [(f"eval_{source}_{name}", source) for name in held_out for source in sources]
        if found := [series for name, label in lines if (series := _series(name, label, rows))]:
            drawn = [series for series in found if series.steps]
            notes = [series.note() for series in found if series.beyond]
            yield Picture(title, _draw(title, drawn) if drawn else "", notes)


def _label(name: str) -> str:
    return "held-out rows" if name.startswith("eval_") else "training"


def _series(name: str, label: str, rows: Sequence[Mapping[str, Any]]) -> _Series | None:
    series = _Series(label)
    for row in rows:
        if (value := _number(row.get(name))) is not None:
            series.add(row["step"], value)
    return series if series.steps or series.beyond else None


def _number(logged: Any) -> float | None:
    """The logged value as a float (NaN and infinity are logged as strings); None if it is not a number."""
    if logged is None or isinstance(logged, bool):
        return None
    try:
        return float(logged)
    except OverflowError:
        return math.inf if logged > 0 else -math.inf
    except ValueError:
        return None


def _draw(title: str, lines: Sequence[_Series]) -> str:
    """One plot as SVG text."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for line in lines:
        is_sparse = line.label != "training" or len(line.steps) < 3
        axes.plot(line.steps, line.values, marker="o" if is_sparse else None, markersize=4, label=line.label)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(axes.lines) > 1:
        axes.legend(frameon=False)
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]
