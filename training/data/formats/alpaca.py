# SPDX-License-Identifier: Apache-2.0
"""Alpaca's rows: ``instruction``, ``input`` and ``output``, a ``system`` message, and a ``history`` of earlier turns.

LLaMA-Factory's data/README.md adds ``chosen`` and ``rejected`` for preferences, and ``kto_tag`` or a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tadrib.training.data.formats.row_format import Converted, Kind, RawValue, RowFormat
from tadrib.training.data.rows.messages import Message, as_text, fail, is_missing
from tadrib.training.data.rows.row_problem import shown

_ANSWERS = ("output", "response")


def _matches(value: RawValue, kind: Kind) -> bool:
    if "instruction" not in value:
        return False
    if kind == "answers":
        return "output" in value or bool(value.get("history"))
    return "prompt" not in value and (kind != "pairs" or "chosen" in value or "rejected" in value)


def _convert(value: RawValue, kind: Kind, tags: Mapping[str, str]) -> Converted:
    rest = {column: item for column, item in value.items() if not is_missing(item)}
    history = _history(rest.pop("history", None) or [])
    answer = _answer_column(rest)
    if kind == "answers" and not history:
        if answer in rest:
            rest["response"] = rest.pop(answer)
        return Converted(rest, {"response": answer})
    prompt: Any = _prompt(rest)
    if history:
        prompt = [*history, {"role": "user", "content": prompt}]
    if kind == "answers":
        said = as_text(rest.pop(answer, None), answer)
        messages = [*prompt, {"role": "assistant", "content": said}]
        return Converted(rest | {"messages": messages}, {"messages": "instruction"})
    if kind == "pairs":
        return Converted(rest | {"prompt": prompt}, {"prompt": "instruction"})
    return _judged(rest | {"prompt": prompt}, answer)


def _judged(value: RawValue, answer: str) -> Converted:
    label = "kto_tag" if "kto_tag" in value and "label" not in value else "label"
    names = {"prompt": "instruction", "completion": answer, "label": label}
    theirs = {names[column]: column for column in ("completion", "label")}
    return Converted({theirs.get(column, column): item for column, item in value.items()}, names)


def _answer_column(row: RawValue) -> str:
    found = [column for column in _ANSWERS if column in row]
    if len(found) > 1:
        message = "is given beside 'output': which of them is the answer?"
        raise fail("two_forms", "response", message, "Keep one of them.")
    return found[0] if found else _ANSWERS[0]


def _prompt(row: RawValue) -> str:
    """The instruction with its input after a blank line, taken out of ``row``."""
    instruction = as_text(row.pop("instruction", None), "instruction")
    given = as_text(row.pop("input", "") or "", "input", may_be_empty=True)
    return f"{instruction}\n\n{given}" if given else instruction


def _history(value: Any) -> list[Message]:
    turns: list[Message] = []
    for index, turn in enumerate(value if isinstance(value, list) else [value]):
        if not isinstance(turn, list | tuple) or len(turn) != 2:
            message = f"expected a pair of what the user said and the answer, found {shown(turn)}."
            raise fail("bad_history", f"history[{index}]", message, 'A pair is ["question", "answer"].')
        for role, text, place in zip(("user", "assistant"), turn, (0, 1), strict=True):
            turns.append({"role": role, "content": as_text(text, f"history[{index}][{place}]")})
    return turns


ALPACA = RowFormat("alpaca", "Alpaca", ("answers", "pairs", "judged"), _matches, _convert)
