# SPDX-License-Identifier: Apache-2.0
"""A look at what would be learnt, before training: the answer and its end, and nothing of the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tadrib.training.data.encoding import Encoded
from tadrib.training.data.generation import control_ids
from tadrib.training.data.group import Completion
from tadrib.training.data.rows.dialogue import Answer
from tadrib.training.data.rows.segments import answer_messages
from tadrib.training.errors import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE_ROWS = 64
_USE_ANOTHER = "Set instruction_template to a named format such as chatml, or mend the chat template."


def mask_problems(
    encoded: Sequence[Encoded], tokenizer: PreTrainedTokenizerBase, where: Callable[[int], str]
) -> list[Problem]:
    """What is wrong with the masks of up to ``SAMPLE_ROWS`` rows spread over ``encoded``, which are not
    truncated yet.

    One problem for each kind of fault, shown on the first row that has it: nothing would be learnt, the
    prompt would be learnt as well, or the end of the answer would not.
    """
    stops = control_ids(tokenizer)
    step = max(1, len(encoded) // SAMPLE_ROWS)
    found: dict[str, Problem] = {}
    for item in encoded[::step][:SAMPLE_ROWS]:
        for answer, completion in zip(item.dialogue.answers, item.group.completions, strict=True):
            fault = _fault(item, answer, completion, tokenizer, stops)
            if fault is not None and fault[0] not in found:
                rule, message = fault
                place = f"{where(item.group.row)}: template {item.template}"
                found[rule] = Problem(place, message, _USE_ANOTHER, rule)
    return list(found.values())


def _fault(
    item: Encoded,
    answer: Answer,
    completion: Completion,
    tokenizer: PreTrainedTokenizerBase,
    stops: set[int],
) -> tuple[str, str] | None:
    """The rule that the mask of one answer breaks, and how."""
    if completion.num_targets == 0:
        message = f"no token of the {answer.role} would be learnt: nothing is marked as the assistant's."
        return "mask_is_not_empty", message
    all_is_learnt = completion.num_targets == len(completion.tokens)
    turns = answer_messages(answer.content)
    if all_is_learnt and (not item.group.prompt or any(turn["role"] != "assistant" for turn in turns)):
        return "mask_is_not_full", "every token would be learnt, what the user says included."
    last = completion.tokens[-1]
    shown = repr(tokenizer.decode([last]))
    if last not in stops:
        message = f"the {answer.role} ends with {shown}, no end-of-turn token: a model would not stop."
        return "answer_has_an_end", message
    if completion.trained is not None and not completion.trained[-1]:
        return "end_is_learnt", f"the end-of-turn token {shown} would not be learnt: a model would not stop."
    return None
