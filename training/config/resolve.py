# SPDX-License-Identifier: Apache-2.0
"""Resolved: a spec with every value it will run with, and where each came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from tadrib.training.config.common import CommonConfig
from tadrib.training.config.dataset.source import DataSource
from tadrib.training.config.effect import Idle, without_effect
from tadrib.training.config.rules.adjusters import Adjustment, settle
from tadrib.training.config.rules.common import broken_rules
from tadrib.training.config.spec import JobSpec, spec_keys
from tadrib.training.config.view import View
from tadrib.training.errors import SpecError

Origin = Literal["given", "default", "adjusted"]
Config = TypeVar("Config", bound=CommonConfig)


@dataclass(frozen=True, slots=True)
class Row:
    """One key of a resolved spec. ``note`` says why it was adjusted or has no effect, and is empty for all others."""

    key: str
    value: Any
    origin: Origin
    note: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """``spec`` has the adjusted settings; ``rows`` list every key in the order of the spec reference; ``idle`` are the
    settings without effect."""

    spec: JobSpec
    rows: tuple[Row, ...]
    adjustments: tuple[Adjustment, ...]
    idle: tuple[Idle, ...]

    @property
    def notices(self) -> list[str]:
        """What a user must be told: a sentence for each default that was replaced and each setting without effect."""
        return [str(each) for each in (*self.adjustments, *self.idle)]


def resolve(spec: JobSpec) -> Resolved:
    """Adjust the defaults that cannot hold on the device the spec asks for, and say where each value came
    from."""
    view = spec.view()
    settled, adjustments = settle(view)
    idle = without_effect(settled)
    notes = {each.key: f"no effect: {each.reason}" for each in idle}
    notes |= {adjustment.key: adjustment.reason for adjustment in adjustments}
    rows = []
    for key in spec_keys(type(spec.config)):
        is_replaced = key == "dataset_path" and spec.config.datasets
        if key in settled.values and not is_replaced:
            rows.append(Row(key, _plain(settled[key]), _origin(key, view, settled), notes.get(key, "")))
    config = _with_settled(spec.config, settled)
    return Resolved(spec.with_config(config), tuple(rows), tuple(adjustments), tuple(idle))


def adjust(
    config: Config, *, device: Literal["cpu", "cuda"], bf16: bool, has_eval_data: bool | None = None
) -> tuple[Config, list[Adjustment]]:
    """A copy of ``config`` whose defaults hold on this device, and what was changed; ``config`` stays as it
    is.

    ``bf16`` says whether the device computes in bfloat16. ``has_eval_data`` overrules what
    ``eval_dataset_path`` and ``validation_split`` say, for data handed over in Python. A value that the user
    set is never changed: raises SpecError where it cannot hold. Adjusting twice gives the same.
    """
    reason = "this machine has no CUDA device" if device == "cpu" else "this machine has a CUDA device"
    view = config.view().with_device(device, reason, bf16).with_eval_data(has_eval_data)
    settled, adjustments = settle(view)
    problems = broken_rules(settled)
    if problems:
        raise SpecError(type(config).__name__, problems)
    return _with_settled(config, settled), adjustments


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return (
        value.model_dump(exclude_unset=isinstance(value, DataSource))
        if isinstance(value, BaseModel)
        else value
    )


def _origin(key: str, view: View, settled: View) -> Origin:
    if view[key] != settled[key]:
        return "adjusted"
    return "given" if key in settled.given else "default"


def _with_settled(config: Config, settled: View) -> Config:
    """A copy with the settled values, of which none counts as given that did not before."""
    copy = config.model_copy()
    copy.__dict__.update({key: settled[key] for key in type(config).model_fields})
    return copy
