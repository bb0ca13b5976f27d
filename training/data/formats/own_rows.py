# SPDX-License-Identifier: Apache-2.0
"""The methods' own rows, whose messages may be written in the ways of other formats."""

from __future__ import annotations

from collections.abc import Mapping

from tadrib.training.data.formats.row_format import Converted, Kind, RawValue, RowFormat
from tadrib.training.data.formats.turns import as_turns

_MAY_HOLD_MESSAGES = ("messages", "prompt", "chosen", "rejected", "hard_negatives", "completion")


def with_turns(value: RawValue, tags: Mapping[str, str]) -> RawValue:
    """``value`` with the messages in its columns as ours, and LLaMA-Factory's ``kto_tag`` as the label."""
    changed = {
        column: as_turns(value[column], column, tags) for column in _MAY_HOLD_MESSAGES if column in value
    }
    return value | changed


def _convert(value: RawValue, kind: Kind, tags: Mapping[str, str]) -> Converted:
    if kind == "judged" and "kto_tag" in value and "label" not in value:
        label = value["kto_tag"]
        rest = {column: item for column, item in value.items() if column != "kto_tag"}
        return Converted(with_turns(rest | {"label": label}, tags), {"label": "kto_tag"})
    return Converted(with_turns(value, tags))


OWN = RowFormat(
    "tadrib", "rows of the method", ("answers", "pairs", "judged", ""), lambda value, kind: True, _convert
)


def _is_text(value: RawValue, kind: Kind) -> bool:
    return kind == "answers" and "text" in value and not value.keys() & _OTHER_FORMS


_OTHER_FORMS = {*_MAY_HOLD_MESSAGES, "conversations", "instruction", "response", "output"}
TEXT = RowFormat("text", "text without a prompt", ("answers",), _is_text, _convert)
