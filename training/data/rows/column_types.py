# SPDX-License-Identifier: Apache-2.0
"""Column types with their validation, as pydantic annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from tadrib.training.data.rows.messages import (
    Content,
    Message,
    as_answers,
    as_content,
    as_messages,
    as_text,
    fail,
)
from tadrib.training.data.rows.row_problem import RowError, shown
from tadrib.training.data.rows.tool_use import as_tools

_MAX_LENGTH = 1_000_000_000


def as_pydantic(error: RowError) -> PydanticCustomError:
    """``error`` wrapped for pydantic, with its problems in the context."""
    return PydanticCustomError("row", "{text}", {"text": str(error), "problems": error.problems})


def _checked(check: Callable[[Any, str], Any]) -> BeforeValidator:
    """``check(value, column)`` as a pydantic validator."""

    def validate(value: Any, info: ValidationInfo) -> Any:
        try:
            return check(value, info.field_name or "")
        except RowError as error:
            raise as_pydantic(error) from error

    return BeforeValidator(validate)


def _as_label(value: Any, column: str) -> bool:
    if isinstance(value, bool):
        return value
    message = (
        f"expected true (desirable) or false (undesirable), found {shown(value)} ({type(value).__name__})."
    )
    action = "Write true or false, without quotes." if isinstance(value, str) else "Write true or false."
    raise fail("bad_label", column, message, action)


def _as_lengths(value: Any, column: str) -> list[int]:
    lengths = value if isinstance(value, list) else [value]
    for length in lengths:
        is_number = isinstance(length, int | float) and not isinstance(length, bool)
        if not is_number or not 1 <= length <= _MAX_LENGTH or length != int(length):
            raise fail(
                "bad_length",
                column,
                f"expected a whole number from 1 to {_MAX_LENGTH:,}, found {shown(length)}.",
                "Correct it.",
            )
    return [int(length) for length in lengths]


TextColumn = Annotated[str, _checked(as_text)]
OptionalText = Annotated[str, _checked(lambda value, column: as_text(value, column, may_be_empty=True))]
ContentColumn = Annotated[Content, _checked(as_content)]
AnswersColumn = Annotated[list[Content], _checked(as_answers)]
MessagesColumn = Annotated[list[Message], _checked(as_messages)]
ToolsColumn = Annotated[list[dict[str, Any]], _checked(as_tools)]
LabelColumn = Annotated[bool, _checked(_as_label)]
LengthsColumn = Annotated[list[int], _checked(_as_lengths)]
