# SPDX-License-Identifier: Apache-2.0
"""Parameters of a merge method, resolved for one tensor: mergekit's scalars, gradients over layers, and filters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

Number = bool | int | float


class Filtered(BaseModel):
    """A value for the tensors whose name contains ``filter``; without one, or with ``*``, for all."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    value: Number | list[Number]
    filter: str | None = None


Setting = Number | list[Number] | list[Filtered]
Settings = dict[str, Setting]

REQUIRED = object()
PER_MODEL = frozenset({"weight", "density"})
_DELTAS = {"weight": REQUIRED, "normalize": False, "lambda": 1.0, "int8_mask": False}
_SLICED = {**_DELTAS, "density": 1.0}
PARAMETERS: dict[str, dict[str, Any]] = {
    "linear": {"weight": REQUIRED, "normalize": True},
    "slerp": {"t": REQUIRED},
    "nuslerp": {"weight": REQUIRED, "nuslerp_flatten": True},
    "task_arithmetic": _DELTAS,
    "ties": {**_SLICED, "normalize": True},
    "dare_linear": {**_SLICED, "rescale": True},
    "dare_ties": {**_SLICED, "rescale": True},
    "cat": {"weight": 1.0},
    "svd": {"weight": 1.0, "rank": REQUIRED},
}
"""The parameters of each method with their defaults, which are mergekit's. ``int8_mask`` saves mergekit memory, and has
no effect here."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How deep a tensor is in a model of ``layers`` layers: from 0 in the first to 1 in the last; 0 outside them."""

    layers: int

    def of(self, name: str) -> float:
        match = re.search(r"\.(?:layers|h|blocks)\.(\d+)\.", name)
        if match is None:
            return 0.0
        return int(match[1]) / (self.layers - 1) if self.layers > 1 else 1.0


def resolve(key: str, scopes: Sequence[Mapping[str, Setting]], name: str, depth: float, default: Any) -> Any:
    """The value of ``key`` for the tensor ``name``: the first of ``scopes`` that has one for it, else ``default``.

    Raises KeyError if there is neither.
    """
    for scope in scopes:
        if key in scope and (value := _value(scope[key], name, depth)) is not None:
            return value
    if default is REQUIRED:
        raise KeyError(key)
    return default


def _value(setting: Any, name: str, depth: float) -> Any:
    if not isinstance(setting, list):
        return setting
    if setting and isinstance(setting[0], Filtered):
        fitting = (each for each in setting if each.filter in (None, "*") or each.filter in name)
        chosen = next(fitting, None)
        return None if chosen is None else _value(chosen.value, name, depth)
    place = depth * (len(setting) - 1)
    low = int(place)
    high = min(low + 1, len(setting) - 1)
    return setting[low] + (place - low) * (setting[high] - setting[low])
