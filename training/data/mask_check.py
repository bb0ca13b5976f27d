# SPDX-License-Identifier: Apache-2.0
"""Check loss masks before training: they must cover the answer and its end-of-turn token, and nothing of the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

from tadrib.training.data.encoding import Encoded
from tadrib.training.data.generation import control_ids
from tadrib.training.data.group import Completion
from tadrib.training.data.rows.dialogue import Answer
from tadrib.training.data.rows.segments import answer_messages
from tadrib.training.errors import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE_ROWS = 64
"""Of each block of rows."""
_USE_ANOTHER = "Set instruction_template to a named format such as chatml, or fix the chat template."


class MaskFault(BaseModel):
    """What is wrong with the mask of a row, given by its number in the dataset."""

    number: int
    template: str
    message: str


class MaskCheck:
    """Checks the masks of rows encoded by ``tokenizer``."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._stops = control_ids(tokenizer)

    def faults(self, encoded: Sequence[tuple[int, Encoded]]) -> dict[str, MaskFault]:
        """The first fault of each kind in the masks of up to ``SAMPLE_ROWS`` numbered rows spread over ``encoded``,
        which must not be truncated yet.

        The mask is empty, it covers the prompt as well, or it does not cover the end of the answer.
        """
        step = max(1, len(encoded) // SAMPLE_ROWS)
        found: dict[str, MaskFault] = {}
        for number, item in encoded[::step][:SAMPLE_ROWS]:
            if item.dialogue.part is not None:  # all of a document is trained on, and its parts end anywhere
                continue
            for answer, completion in zip(item.dialogue.answers, item.group.completions, strict=True):
                fault = _fault(item, answer, completion, self._tokenizer, self._stops)
                if fault is not None:
                    rule, message = fault
                    first = MaskFault(number=number, template=item.template, message=message)
                    found.setdefault(rule, first)
        return found


def mask_problems(faults: Mapping[str, MaskFault], where: Callable[[int], str]) -> list[Problem]:
    """A problem for each fault by its rule. ``where`` turns a row's number into its place."""
    return [
        Problem(f"{where(fault.number)}: template {fault.template}", fault.message, _USE_ANOTHER, rule)
        for rule, fault in faults.items()
    ]


def _fault(
    item: Encoded,
    answer: Answer,
    completion: Completion,
    tokenizer: PreTrainedTokenizerBase,
    stops: set[int],
) -> tuple[str, str] | None:
    """The rule that the mask of one answer violates, and how; None if it is right."""
    if completion.num_targets == 0:
        message = f"no token of the {answer.role} would be trained on: nothing is marked as the assistant's."
        return "mask_is_not_empty", message
    is_full = completion.num_targets == len(completion.tokens)
    turns = answer_messages(answer.content)
    if is_full and (not item.group.prompt or any(turn["role"] != "assistant" for turn in turns)):
        return "mask_is_not_full", "every token would be trained on, including what the user says."
    last = completion.tokens[-1]
    shown = repr(tokenizer.decode([last]))
    if last not in stops:
        message = f"the {answer.role} ends with {shown}, not an end-of-turn token: the model would not learn to stop."
        return "answer_has_an_end", message
    if completion.trained is not None and not completion.trained[-1]:
        message = f"the end-of-turn token {shown} would not be trained on: the model would not learn to stop."
        return "end_is_trained", message
    return None
