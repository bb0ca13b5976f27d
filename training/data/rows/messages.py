# SPDX-License-Identifier: Apache-2.0
"""Validate the texts and conversations in a row; errors say what was found and what is expected."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from tadrib.training.data.rows.row_problem import RepeatedKeys, RowError, RowProblem, shown
from tadrib.training.data.rows.tool_use import as_tool_calls
from tadrib.training.errors import named, nearest

Message: TypeAlias = dict[str, Any]  # {"role": ..., "content": ..., and what a chat template may use}
Content: TypeAlias = str | list[Message]  # a text, or the messages of a conversation

ROLES = ("system", "user", "assistant", "tool")
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys under which formats keep a message's reasoning, which precedes its content."""
_TEXT_ONLY = "Training uses text only: describe it in the text, or remove the row."
_USE_WEIGHT = 'Remove this key. To exclude an assistant message from the loss, give it "weight": 0.'
# Keys that change the meaning of a message or how it is trained on, and that nothing here reads.
_REFUSED_KEYS = {
    "function_call": "Write it as tool_calls, a list of calls.",
    "refusal": "Write the refusal as content.",
    **dict.fromkeys(("image", "images", "audio", "audios", "video", "videos"), _TEXT_ONLY),
    **dict.fromkeys(("train", "training", "trainable", "loss", "mask"), _USE_WEIGHT),
}


def fail(kind: str, column: str, message: str, action: str = "") -> RowError:
    return RowError(RowProblem(kind, column, message, action))


def is_missing(value: Any) -> bool:
    """Whether ``value`` is None or NaN, the two ways in which tables represent a missing value."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_text(value: Any, column: str, may_be_empty: bool = False) -> str:
    """``value`` if it is a non-empty text; otherwise raises RowError."""
    if not isinstance(value, str):
        found = (
            "a missing value (null or NaN)"
            if is_missing(value)
            else f"{shown(value)} ({type(value).__name__})"
        )
        raise fail("wrong_type", column, f"expected text, found {found}.", "Write text or remove the row.")
    if not may_be_empty and not value.strip():
        found = "empty" if not value else f"only white space ({shown(value)})"
        raise fail("empty", column, f"is {found}.", "Write the text or remove the row.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        broken = value[error.start : error.end]
        message = f"has a lone surrogate, {shown(broken)}, at character {error.start}: half of a character."
        raise fail("bad_unicode", column, message, "Write the whole character.") from error
    return value


def as_messages(value: Any, column: str) -> list[Message]:
    """``value`` if it is a list of ``{"role": ..., "content": ...}`` with known roles; otherwise raises RowError."""
    if not isinstance(value, list):
        message = f"expected a list of messages, found {shown(value)} ({type(value).__name__})."
        raise fail("wrong_type", column, message, 'A message is {"role": "user", "content": "..."}.')
    if not value:
        raise fail("empty", column, "has no messages.", "Write the conversation or remove the row.")
    return [_as_message(message, f"{column}[{index}]") for index, message in enumerate(value)]


def _as_message(value: Any, column: str) -> Message:
    if not isinstance(value, dict):
        message = f"expected a message, found {shown(value)} ({type(value).__name__})."
        raise fail("wrong_type", column, message, 'A message is {"role": "user", "content": "..."}.')
    if isinstance(value, RepeatedKeys):
        raise fail("repeated_key", column, f"has the key {shown(value.repeated)} twice.", "Keep one of them.")
    if "role" not in value or ("content" not in value and not value.get("tool_calls")):
        action = 'A message is {"role": "user", "content": "..."}.'
        if "from" in value and "value" in value:
            action = 'Rename "from" to "role" (human is user, gpt is assistant) and "value" to "content".'
        message = f"a message has role and content; found {named(value) or 'nothing'}."
        raise fail("wrong_message", column, message, action)
    role = value["role"]
    if role not in ROLES:
        close = nearest(role, ROLES) if isinstance(role, str) else None
        hint = f"Did you mean {close}?" if close else "Rename the role."
        raise fail(
            "bad_role", f"{column}.role", f"expected one of {', '.join(ROLES)}; found {shown(role)}.", hint
        )
    kept = {key: item for key, item in value.items() if not is_missing(item)}
    for key in _REFUSED_KEYS.keys() & kept.keys():
        if kept[key] not in ("", [], {}):
            message = f"would change what is trained on, but is not supported; found {shown(kept[key])}."
            raise fail("refused_key", f"{column}.{key}", message, _REFUSED_KEYS[key])
    if kept.get("tool_calls"):
        kept["tool_calls"] = as_tool_calls(kept["tool_calls"], f"{column}.tool_calls")
    if "weight" in kept and _weight(kept.pop("weight"), role, f"{column}.weight") == 0:
        kept["weight"] = 0
    # A turn that only calls a tool says nothing, and a tool or system message may be empty.
    may_be_empty = role in ("system", "tool") or bool(kept.get("tool_calls"))
    content = kept.get("content", "" if may_be_empty else None)
    return kept | {"content": as_text(content, f"{column}.content", may_be_empty)}


def is_trained_on(message: Message) -> bool:
    """Whether SFT trains on the message: the assistant's, unless its ``weight`` is 0 (OpenAI's fine-tuning format)."""
    return message["role"] == "assistant" and message.get("weight") != 0


def _weight(value: Any, role: str, column: str) -> float:
    allowed = (0, 1) if role == "assistant" else (0,)
    if isinstance(value, bool) or value not in allowed:
        rule = (
            "0 (not trained on) or 1 (trained on)"
            if role == "assistant"
            else f"none: a {role} message is never trained on"
        )
        raise fail("bad_weight", column, f"expected {rule}; found {shown(value)}.", "Correct or remove it.")
    return float(value)


def as_content(value: Any, column: str) -> Content:
    """A text, or a list of messages."""
    return as_messages(value, column) if isinstance(value, list) else as_text(value, column)


def as_answers(value: Any, column: str) -> list[Content]:
    """One answer, or a list of answers; each a text or a list of messages."""
    if not isinstance(value, list) or (value and isinstance(value[0], dict)):
        return [as_content(value, column)]
    return [as_content(item, f"{column}[{index}]") for index, item in enumerate(value)]


def same(left: Content, right: Content) -> bool:
    """Whether two answers are equal up to leading and trailing whitespace."""
    if isinstance(left, str) and isinstance(right, str):
        return left.strip() == right.strip()
    return left == right


def common_start(conversations: list[list[Message]]) -> int:
    """The number of messages that all ``conversations`` begin with."""
    count = 0
    for messages in zip(*conversations, strict=False):
        if any(message != messages[0] for message in messages):
            break
        count += 1
    return count
