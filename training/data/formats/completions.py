# SPDX-License-Identifier: Apache-2.0
"""Prompts with completions: TRL's pairs of prompt and completion for SFT, and several completions with scores.

Formats: TRL's docs/source/dataset_formats.md (prompt-completion, standard and conversational), and UltraFeedback
(Cui et al. 2023, arXiv 2310.01377), whose completions carry their ``overall_score``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tadrib.training.data.formats.row_format import Converted, Kind, RawValue, RowFormat
from tadrib.training.data.formats.turns import as_turns
from tadrib.training.data.rows.messages import Message, as_content, fail
from tadrib.training.data.rows.row_problem import shown

_SCORE_KEYS = ("overall_score", "score")
_TEXT_KEYS = ("response", "completion", "text", "content")


def _is_prompt_completion(value: RawValue, kind: Kind) -> bool:
    is_own = "instruction" in value and "response" in value
    return kind == "answers" and "prompt" in value and "completion" in value and not is_own


def _to_learn(value: RawValue, kind: Kind, tags: Mapping[str, str]) -> Converted:
    if value.get("label") is False:
        message = "is false: the completion is not to be learnt, but SFT would learn it."
        raise fail("refused_column", "label", message, "Remove the row, or train with method: kto.")
    rest = dict(value)
    prompt, completion = (as_turns(rest.pop(name, None), name, tags) for name in ("prompt", "completion"))
    if isinstance(prompt, str) and isinstance(completion, str):
        own = {"instruction": prompt, "response": completion}
        return Converted(rest | own, {"instruction": "prompt", "response": "completion"})
    messages = [*map(_unlearnt, _chat(prompt, "prompt", "user"))]
    messages += _chat(completion, "completion", "assistant")
    return Converted(rest | {"messages": messages}, {"messages": "prompt"})


def _chat(value: Any, column: str, role: str) -> list[Message]:
    content = as_content(value, column)
    return content if isinstance(content, list) else [{"role": role, "content": content}]


def _unlearnt(message: Message) -> Message:
    """A message of the prompt: what the assistant says there is not learnt."""
    return message | {"weight": 0} if message["role"] == "assistant" else message


def _is_scored(value: RawValue, kind: Kind) -> bool:
    completions = value.get("completions")
    if kind != "pairs" or not isinstance(completions, list) or "chosen" in value:
        return False
    return "scores" in value or all(isinstance(each, dict) and _score_in(each) for each in completions)


def _score_in(completion: dict[str, Any]) -> str | None:
    return next((key for key in _SCORE_KEYS if key in completion), None)


def _to_compare(value: RawValue, kind: Kind, tags: Mapping[str, str]) -> Converted:
    """The completion of the highest score is chosen, those of lower ones are rejected, the best of them first."""
    rest = dict(value)
    completions = rest.pop("completions", None)
    if not isinstance(completions, list) or len(completions) < 2:
        message = f"expected a list of two completions or more, found {shown(completions)}."
        raise fail("bad_scores", "completions", message, "Add the others or remove the row.")
    scores = _scores(rest.pop("scores", None), completions)
    ranked = sorted(range(len(scores)), key=lambda index: -scores[index])
    if scores[ranked[0]] == scores[ranked[1]]:
        message = (
            f"{shown(scores[ranked[0]])} is the highest, of more than one completion: none of them is chosen."
        )
        raise fail("bad_scores", "scores", message, "Correct the scores or remove the row.")
    answers = [as_turns(_text(completions[index], index), f"completions[{index}]", tags) for index in ranked]
    if "instruction" in rest and "prompt" not in rest:
        rest["prompt"] = rest.pop("instruction")
    rest["prompt"] = as_turns(rest.get("prompt"), "prompt", tags)
    own = {"chosen": answers[0], "rejected": answers[1:]}
    return Converted(rest | own, {"chosen": "completions", "rejected": "completions"})


def _scores(value: Any, completions: list[Any]) -> list[float]:
    if value is None:
        keys = [_score_in(each) if isinstance(each, dict) else None for each in completions]
        value = [each.get(key) if key else None for each, key in zip(completions, keys, strict=True)]
    if not isinstance(value, list) or len(value) != len(completions):
        message = (
            f"expected a list of {len(completions)} scores, one for each completion; found {shown(value)}."
        )
        raise fail("bad_scores", "scores", message, "Correct the scores.")
    for index, score in enumerate(value):
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            message = f"expected a number, found {shown(score)}."
            raise fail("bad_scores", f"scores[{index}]", message, "Correct the score or remove the row.")
    return value


def _text(completion: Any, index: int) -> Any:
    """The answer itself, also of a completion that is an object with its model and ratings."""
    if not isinstance(completion, dict) or "role" in completion or "from" in completion:
        return completion
    key = next((key for key in _TEXT_KEYS if key in completion), None)
    if key is None:
        message = f"expected one of {', '.join(_TEXT_KEYS)}; found {shown(completion)}."
        raise fail("bad_scores", f"completions[{index}]", message, "Write the answer as text.")
    return completion[key]


PROMPT_COMPLETION = RowFormat(
    "prompt_completion", "prompt and completion", ("answers",), _is_prompt_completion, _to_learn
)
SCORED = RowFormat("scored", "completions with scores", ("pairs",), _is_scored, _to_compare)
