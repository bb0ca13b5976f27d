# SPDX-License-Identifier: Apache-2.0
"""Pairs whose prompt is the beginning that both answers share: Anthropic's HH dialogues, and TRL's implicit prompts.

Formats: Bai et al. 2022 (arXiv 2204.05862), whose rows are two dialogues as text; TRL's docs/source/dataset_formats.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tadrib.training.data.formats.row_format import Converted, Kind, RawValue, RowFormat
from tadrib.training.data.rows.messages import Message, as_text, fail
from tadrib.training.data.rows.row_problem import shown

_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_ANSWERS = ("chosen", "rejected")
_HH_FORM = r'A dialogue is "\n\nHuman: … \n\nAssistant: …".'


def _is_hh(value: RawValue, kind: Kind) -> bool:
    dialogues = [value.get(column) for column in _ANSWERS]
    return kind == "pairs" and "prompt" not in value and all(map(_is_dialogue, dialogues))


def _is_dialogue(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return value.lstrip().startswith("Human:") and "\n\nAssistant:" in value


def _from_hh(value: RawValue, kind: Kind, tags: Mapping[str, str]) -> Converted:
    return Converted(value | {column: _turns(value.get(column), column) for column in _ANSWERS})


def _turns(value: Any, column: str) -> list[Message]:
    text = as_text(value, column).strip()
    before, *rest = _SPEAKER.split(text)
    if before or not rest:
        message = f"expected a dialogue that begins with 'Human:', found {shown(text)}."
        raise fail("bad_dialogue", column, message, _HH_FORM)
    turns = [
        {"role": _ROLES[name], "content": said.strip()}
        for name, said in zip(rest[::2], rest[1::2], strict=True)
    ]
    for index, turn in enumerate(turns):
        expected = "assistant" if index % 2 else "user"
        if turn["role"] != expected or not turn["content"]:
            found = "nothing" if turn["role"] == expected else f"the {turn['role']} again"
            message = f"turn {index + 1} of the dialogue: expected what the {expected} says, found {found}."
            raise fail("turn_order", column, message, "Correct the dialogue or remove the row.")
    return turns


def _split(value: RawValue, kind: Kind, tags: Mapping[str, str]) -> Converted:
    """The prompt is the common beginning of both texts, without the space that may separate it from the answers."""
    texts = [as_text(value.get(column), column) for column in _ANSWERS]
    prompt = _common_beginning(*texts)
    length = len(prompt) - prompt.endswith(" ")
    if not prompt.strip():
        message = "begins otherwise than the chosen answer, so there is no prompt that they share."
        raise fail("prompt_mismatch", "rejected", message, "Add the column 'prompt'.")
    answers = {column: text[length:] for column, text in zip(_ANSWERS, texts, strict=True)}
    return Converted(value | {"prompt": prompt[:length]} | answers)


def _common_beginning(one: str, other: str) -> str:
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))]


HH = RowFormat("hh", "HH dialogues", ("pairs",), _is_hh, _from_hh)
# never recognised: any two answers may begin with the same words
IMPLICIT_PROMPT = RowFormat(
    "implicit_prompt", "answers that begin with their prompt", ("pairs",), lambda value, kind: False, _split
)
