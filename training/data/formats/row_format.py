# SPDX-License-Identifier: Apache-2.0
"""RowFormat: how rows of one format are recognised, and turned into those of a kind of method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tadrib.training.data.rows.models import PreferenceRow, SFTRow, row_model

RawValue: TypeAlias = dict[str, Any]
Kind = Literal["answers", "pairs", "judged", ""]
"""What the rows of a method hold: an answer to learn (SFT), a pair of answers or more, one answer with a label (KTO).
Empty for a method whose rows are neither."""


def kind_of(method: str) -> Kind:
    model = row_model(method)
    if model.is_judged:
        return "judged"
    if issubclass(model, PreferenceRow):
        return "pairs"
    return "answers" if issubclass(model, SFTRow) else ""


@dataclass(frozen=True, slots=True)
class Converted:
    """``value`` has the columns of a method's own rows, and those that the format does not know. ``origins`` names the
    column that one of ours was made of, where it has another name."""

    value: RawValue
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowFormat:
    """``matches`` tells a row by its columns and values. ``convert`` raises RowError for a row that it cannot turn into
    one of the kind without a loss; it gets the tags of the layout. ``title`` is what the user is told."""

    name: str
    title: str
    kinds: tuple[Kind, ...]
    matches: Callable[[RawValue, Kind], bool]
    convert: Callable[[RawValue, Kind, Mapping[str, str]], Converted]
