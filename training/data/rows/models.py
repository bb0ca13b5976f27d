# SPDX-License-Identifier: Apache-2.0
"""Row models: validate each method's columns, and convert rows to the dialogues that templates render."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, model_validator

from tadrib.training.config.registry import METHODS
from tadrib.training.data.rows.column_types import (
    AnswersColumn,
    ContentColumn,
    LabelColumn,
    LengthsColumn,
    MessagesColumn,
    OptionalText,
    TextColumn,
    ToolsColumn,
    as_pydantic,
)
from tadrib.training.data.rows.columns import missing_columns, misspelt_columns, refused_columns
from tadrib.training.data.rows.context import in_context
from tadrib.training.data.rows.dialogue import Answer, Dialogue, align, split_conversation
from tadrib.training.data.rows.messages import Content, fail, is_missing, same
from tadrib.training.data.rows.row_problem import RowError, RowProblem


class Row(BaseModel, ABC):
    """One row of a method. Columns that are not fields are ignored here, and counted by ``training.data.blocks``.

    ``system`` is a system message before the prompt, ``tools`` are those that the model may call.
    """

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    system: OptionalText = ""
    tools: ToolsColumn = []
    optional: ClassVar[tuple[str, ...]] = ("system", "tools")
    is_judged: ClassVar[bool] = False
    """Whether a row is one answer with a label, which is measured against a baseline and not against another answer."""
    _dialogue: Dialogue = PrivateAttr()

    @classmethod
    def required(cls, value: dict[str, Any]) -> tuple[str, ...]:
        """Columns that ``value`` must have; conversational rows may need others."""
        return tuple(name for name in cls.model_fields if name not in cls.optional)

    @abstractmethod
    def _to_dialogue(self) -> Dialogue:
        """The row as prompt and answers. Raises RowError if its columns contradict each other."""

    @model_validator(mode="after")
    def _cross_check(self) -> Row:
        try:
            self._dialogue = in_context(self._to_dialogue(), self.system, self.tools)
        except RowError as error:
            raise as_pydantic(error) from error
        return self

    @property
    def dialogue(self) -> Dialogue:
        return self._dialogue

    @property
    def unused(self) -> tuple[str, ...]:
        """Columns of the row that are fields, but have no effect beside others."""
        return ()


class SFTRow(Row):
    """``instruction``, optional ``input`` and ``response``; or ``messages``, with every assistant turn trained on; or
    ``text`` alone, with every token trained on."""

    instruction: TextColumn | None = None
    input: OptionalText = ""
    response: TextColumn | None = None
    messages: MessagesColumn | None = None
    text: TextColumn | None = None
    optional = ("input", *Row.optional)

    @classmethod
    def required(cls, value: dict[str, Any]) -> tuple[str, ...]:
        if "messages" in value:
            return ("messages",)
        is_document = "text" in value and not {"instruction", "response"} & value.keys()
        return ("text",) if is_document else ("instruction", "response")

    @property
    def unused(self) -> tuple[str, ...]:
        """Stanford's Alpaca repeats its rows, rendered, as ``text``."""
        return () if self.dialogue.part is not None or self.text is None else ("text",)

    def _to_dialogue(self) -> Dialogue:
        if self.text is not None and not (self.messages or self.instruction or self.response):
            if self.system or self.tools or self.input:
                message = "is given together with system, tools or input, which have no place in a text."
                raise fail("two_forms", "text", message, "Write them into the text, or the row as messages.")
            return Dialogue("", (Answer("response", self.text),), part=0)
        if self.messages is not None:
            if self.instruction or self.response or self.input:
                message = "is given together with instruction, input or response: two forms of one row."
                raise fail("two_forms", "messages", message, "Keep one of them.")
            prompt, answer = split_conversation(self.messages, "messages")
            return Dialogue(prompt, (Answer("response", answer),))
        return Dialogue(self.instruction or "", (Answer("response", self.response or ""),), self.input)


class PreferenceRow(Row):
    """``prompt``, ``chosen`` and ``rejected`` (one answer or a list of them); texts or conversations."""

    prompt: ContentColumn | None = None
    chosen: ContentColumn
    rejected: AnswersColumn

    @classmethod
    def required(cls, value: dict[str, Any]) -> tuple[str, ...]:
        needed = super().required(value)
        whole_conversations = isinstance(value.get("chosen"), list) and "prompt" not in value
        return tuple(name for name in needed if name != "prompt") if whole_conversations else needed

    def _negatives(self) -> list[tuple[str, str, Content]]:
        """Column, role and content of each answer other than the chosen one."""
        if not self.rejected:
            message = "has no answer; expected at least one to compare the chosen one with."
            raise fail("no_negatives", "rejected", message, "Add a rejected answer or remove the row.")
        named = len(self.rejected) > 1
        return [
            (f"rejected[{i}]" if named else "rejected", "rejected", c) for i, c in enumerate(self.rejected)
        ]

    def _to_dialogue(self) -> Dialogue:
        negatives = self._negatives()
        prompt, contents = align(
            self.prompt, [("chosen", self.chosen), *((column, c) for column, _, c in negatives)]
        )
        equal = [
            column for (column, _, _), c in zip(negatives, contents[1:], strict=True) if same(contents[0], c)
        ]
        if equal:
            message = "is equal to the chosen answer, so there is nothing to prefer."
            raise RowError(*(RowProblem("equal_answers", c, message, "Replace or remove it.") for c in equal))
        roles = ["chosen", *(role for _, role, _ in negatives)]
        answers = tuple(Answer(role, content) for role, content in zip(roles, contents, strict=True))
        return Dialogue(prompt, answers, lengths=self._lengths())

    def _lengths(self) -> tuple[int, ...]:
        return ()


class DPORow(PreferenceRow):
    """A preference row; each rejected answer forms a pair with the chosen one."""


class SimPORow(PreferenceRow):
    """A preference row like DPO's."""


class IPORow(PreferenceRow):
    """A preference row with optional lengths of the chosen and rejected answers, in any unit."""

    chosen_length: LengthsColumn | None = None
    rejected_length: LengthsColumn | None = None
    optional = ("chosen_length", "rejected_length", *Row.optional)

    def _lengths(self) -> tuple[int, ...]:
        if self.chosen_length is None and self.rejected_length is None:
            return ()
        chosen, rejected = self.chosen_length or [], self.rejected_length or []
        if (len(chosen), len(rejected)) != (1, len(self.rejected)):
            message = (
                f"expected one length for each answer, 1 and {len(self.rejected)}; "
                f"found {len(chosen)} and {len(rejected)}."
            )
            raise fail("bad_length", "chosen_length, rejected_length", message, "Give all lengths or none.")
        return (*chosen, *rejected)


class CPORow(PreferenceRow):
    """A preference row with optional ``hard_negatives``: further rejected answers, weighted separately."""

    hard_negatives: AnswersColumn = []
    optional = ("hard_negatives", *Row.optional)

    def _negatives(self) -> list[tuple[str, str, Content]]:
        hard = [(f"hard_negatives[{i}]", "hard_negative", c) for i, c in enumerate(self.hard_negatives)]
        return [*super()._negatives(), *hard]


class KTORow(Row):
    """``prompt``, ``completion`` and ``label``: true if the completion is desirable, false if not."""

    prompt: ContentColumn
    completion: ContentColumn
    label: LabelColumn
    is_judged = True

    def _to_dialogue(self) -> Dialogue:
        prompt, (completion,) = align(self.prompt, [("completion", self.completion)])
        return Dialogue(prompt, (Answer("completion", completion),), label=self.label)


def row_model(method: str) -> type[Row]:
    return METHODS[method].row_model


def parse_row(method: str, value: dict[str, Any]) -> Row:
    """``value`` as a row of ``method``. A missing value (null, NaN) counts as a missing column.

    Raises:
        RowError: with every problem of the row.
    """
    model = row_model(method)
    present = {column: item for column, item in value.items() if not is_missing(item)}
    required = model.required(present)
    known = tuple(model.model_fields)
    absent = tuple(column for column in required if column not in value)
    problems = [*missing_columns(absent, tuple(value), known)]
    problems += [_without_value(column) for column in required if column in value and column not in present]
    problems += misspelt_columns(tuple(present), known, model.optional)
    problems += refused_columns(present, known)
    try:
        row = model.model_validate(present)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            problems.extend(detail.get("ctx", {}).get("problems", ()))
        raise RowError(*problems) from error
    if problems:
        raise RowError(*problems)
    return row


def _without_value(column: str) -> RowProblem:
    return RowProblem("missing_value", column, "has no value (null or NaN).", "Fill it in or remove the row.")
