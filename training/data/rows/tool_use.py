# SPDX-License-Identifier: Apache-2.0
"""Validate tools and tool calls, with arguments as the mappings that chat templates expect."""

from __future__ import annotations

import json
from typing import Any

from tadrib.training.data.rows.row_problem import RowError, RowProblem, shown

_TOOL = '{"type": "function", "function": {"name": "…", "parameters": {…}}}'
_CALL = '{"type": "function", "function": {"name": "…", "arguments": {…}}}'


def as_tools(value: Any, column: str) -> list[dict[str, Any]]:
    """``value`` as a list of tools; it may be a list or its JSON text. A tool is OpenAI's ``{"type": "function",
    "function": {"name": …}}``, or only the function."""
    if isinstance(value, str):
        value = parsed(value, column) if value.strip() else []
    if not isinstance(value, list):
        raise _wrong(column, "a list of tools", value, f"A tool is {_TOOL}.")
    for index, tool in enumerate(value):
        if not isinstance(_function(tool).get("name"), str):
            raise _wrong(f"{column}[{index}]", "a tool with a name", tool, f"A tool is {_TOOL}.")
    return value


def as_tool_calls(value: Any, column: str) -> list[dict[str, Any]]:
    """``value`` as a list of calls. Arguments given as JSON text, as in OpenAI's API, are parsed."""
    if not isinstance(value, list):
        raise _wrong(column, "a list of tool calls", value, f"A call is {_CALL}.")
    return [_as_call(call, f"{column}[{index}]") for index, call in enumerate(value)]


def _as_call(call: Any, column: str) -> dict[str, Any]:
    function = _function(call)
    if not isinstance(function.get("name"), str):
        raise _wrong(column, "a call of a function by name", call, f"A call is {_CALL}.")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = parsed(arguments, f"{column}.arguments") if arguments.strip() else {}
    if arguments is None:
        return call
    if not isinstance(arguments, dict):
        raise _wrong(f"{column}.arguments", "an object of arguments", arguments, f"A call is {_CALL}.")
    return with_arguments(call, arguments)


def with_arguments(call: dict[str, Any], arguments: Any) -> dict[str, Any]:
    if "function" in call:
        return call | {"function": call["function"] | {"arguments": arguments}}
    return call | {"arguments": arguments}


def with_text_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """The call with its arguments as JSON text, for templates that insert them as they are."""
    arguments = _function(call).get("arguments", {})
    return with_arguments(call, json.dumps(arguments, ensure_ascii=False))


def name_of(tool: dict[str, Any]) -> str:
    """The name of a tool, or of the tool that a call is for."""
    return str(_function(tool)["name"])


def _function(tool: Any) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else {}
    return function if isinstance(function, dict) else {}


def parsed(text: str, column: str) -> Any:
    """The JSON in ``text``. Raises RowError if it is none."""
    try:
        return json.loads(text)
    except ValueError as error:
        message = f"is text but not valid JSON: {error}; found {shown(text)}."
        raise RowError(RowProblem("bad_tool", column, message, "Write the object itself.")) from error


def _wrong(column: str, expected: str, found: Any, action: str) -> RowError:
    message = f"expected {expected}, found {shown(found)} ({type(found).__name__})."
    return RowError(RowProblem("bad_tool", column, message, action))
