# SPDX-License-Identifier: Apache-2.0
"""Missing and unknown columns of a row, with suggestions for the intended name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from tadrib.training.data.rows.row_problem import RowProblem, shown
from tadrib.training.errors import clip, named, nearest

_KINDS_OF_ROWS = 128  # sets of columns whose problems are remembered: a file's rows mostly have the same ones
_PLAIN = re.compile(r"…|[^\W\d][\w -]*\w|[^\W\d]")
_TYPO_RATIO = 0.8  # an unknown column this similar to an optional one is a typo; otherwise it is extra data
# Names that other formats use. They are only suggested: a wrong guess would train on nonsense.
_OTHER_NAMES = {
    "instruction": ("question", "query", "prompt", "task"),
    "response": ("output", "answer", "completion", "target", "text"),
    "messages": ("conversations", "conversation", "dialog", "dialogue", "chat"),
    "prompt": ("question", "instruction", "query", "input"),
    "chosen": ("accepted", "preferred", "winner", "positive", "response_chosen"),
    "rejected": ("dispreferred", "loser", "negative", "negatives", "response_rejected"),
    "completion": ("response", "answer", "output", "chosen", "text"),
    "label": ("desirable", "preference", "score", "is_good", "rating"),
}


def _spec_lines(columns: Mapping[str, str]) -> str:
    """The lines of a spec that read ``columns`` (ours: theirs), after an action that is not finished."""
    names = [f"        {ours}: {as_yaml(theirs)}" for ours, theirs in columns.items()]
    return "\n".join([", or name it in the spec:", "      columns:", *names])


def _rename(theirs: str, ours: str) -> str:
    return f"Rename the column to {ours!r}{_spec_lines({ours: theirs})}"


def as_yaml(name: str) -> str:
    """A name as it stands in YAML, cut if it is long; what could be read otherwise is quoted."""
    short = clip(name)
    return short if _PLAIN.fullmatch(short) else json.dumps(short, ensure_ascii=False)


_AS_MESSAGES = "Write the row as messages, with"
_TEXT_ONLY = "Training uses text only: remove it, or the row."
# Columns of other formats that change the meaning of a row or how it is trained on, and that no method reads.
_REFUSED = {
    "weight": 'All rows have the same weight: remove it. To exclude a message from the loss, give it "weight": 0.',
    "history": f"{_AS_MESSAGES} the history as its first turns.",
    "reasoning_content": f"{_AS_MESSAGES} reasoning_content in the assistant's message.",
    "system_prompt": _rename("system_prompt", "system"),
    "functions": _rename("functions", "tools"),
    "function_call": f"{_AS_MESSAGES} tool_calls in the assistant's message.",
    "documents": "Write them into the prompt.",
    "chat_template": "Set instruction_template, which applies to all rows.",
    "chat_template_kwargs": "Chat templates are rendered with their defaults: remove it.",
    **dict.fromkeys(("image", "images", "audio", "audios", "video", "videos"), _TEXT_ONLY),
}
_REFUSED_BESIDES = {"instruction": {"context": _rename("context", "input")}}


def refused_columns(row: Mapping[str, Any], known: Collection[str]) -> list[RowProblem]:
    """Problems for non-empty columns that should change what is trained on, but would be ignored."""
    refused = dict(_REFUSED)
    for column, others in _REFUSED_BESIDES.items():
        if column in row:
            refused |= others
    return [
        RowProblem(
            "refused_column",
            name,
            f"would change what is trained on, but is not supported; found {shown(row[name])}.",
            action,
        )
        for name, action in refused.items()
        if name in row and name not in known and not _is_neutral(name, row[name])
    ]


def _is_neutral(name: str, value: Any) -> bool:
    return value in ("", [], {}) or (name == "weight" and value == 1)


@lru_cache(_KINDS_OF_ROWS)
def missing_columns(
    missing: tuple[str, ...], present: tuple[str, ...], known: tuple[str, ...]
) -> list[RowProblem]:
    """A problem for each of the ``missing`` columns. Its action names the one of ``present`` that was probably meant;
    the first one gives the lines of a spec that read them all."""
    unknown = [name for name in present if name not in known]
    names = {column: _meant(column, unknown) or "…" for column in missing}
    found = f"found {named(present)}" if present else "the row has no columns"
    problems = []
    for column in missing:
        meant = _meant(column, unknown)
        action = f"Rename the column {shown(meant)} to {column!r}" if meant else f"Add the column {column!r}"
        action += _spec_lines(names) if unknown and column == missing[0] else "."
        problems.append(RowProblem("missing_column", column, f"the column is missing; {found}.", action))
    return problems


def _meant(column: str, unknown: Collection[str]) -> str | None:
    other_names = [name for name in _OTHER_NAMES.get(column, ()) if name in unknown]
    return nearest(column, unknown) or (other_names[0] if other_names else None)


@lru_cache(_KINDS_OF_ROWS)
def misspelt_columns(
    present: tuple[str, ...], known: tuple[str, ...], optional: tuple[str, ...]
) -> list[RowProblem]:
    """Problems for unknown columns that look like a typo of an optional column the row lacks."""
    problems = []
    for name in present:
        absent = [column for column in optional if column not in present]
        close = nearest(name, absent) if name not in known else None
        if close and difflib.SequenceMatcher(None, name, close).ratio() >= _TYPO_RATIO:
            message = f"is not a column of this method, but very similar to {close!r}."
            problems.append(
                RowProblem("misspelt_column", name, message, f"Rename it to {close!r}, or remove it.")
            )
    return problems
