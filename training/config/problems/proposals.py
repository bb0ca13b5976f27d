# SPDX-License-Identifier: Apache-2.0
"""Proposal: what to write instead of a value of the wrong kind. Only what would be accepted is proposed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from tadrib.training.config.run_name import as_label
from tadrib.training.config.yaml.written import text_of

Accepts = Callable[[Any], bool]

_NAMES = "Names have lower-case letters, digits and inner hyphens."
_NAME_IT = 'Example: name: arabic-dpo. A run that is called null needs quotes: "null".'


def proposal(kind: str, value: Any, where: str, accepts: Accepts | None) -> str:
    """The next action after pydantic's error ``kind`` for the ``value`` at ``where``; "" where none is known.

    ``accepts`` tells whether the key takes another value; None for a value inside of another one.
    """
    if value is None:
        return _instead_of_null(where, accepts)
    if kind.startswith(("int_", "float_")):
        return _number(value, accepts)
    if kind == "string_type" and isinstance(value, (int, float)):
        return _text(value, where)
    if kind == "list_type" and isinstance(value, str):
        return _list(value, accepts)
    return ""


def _instead_of_null(where: str, accepts: Accepts | None) -> str:
    if where == "name":
        return _NAME_IT
    return "Remove the key to use its default." if accepts else "Give it a value."


def _number(value: Any, accepts: Accepts | None) -> str:
    """The number that a text spells, in whatever digits; the whole number that a fraction is."""
    if isinstance(value, float) and value.is_integer():
        return _if_accepted(int(value), f"Write {int(value)}.", accepts)
    if not isinstance(value, str):
        return ""
    text = value.replace("_", "").strip()
    try:
        number: int | float = int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return ""
    if not math.isfinite(number):
        return ""
    shown = text if text.isascii() and not re.match(r"[-+]?0[0-9]", text) else str(number)
    return _if_accepted(number, f"Write {shown} without quotes.", accepts)


def _text(value: int | float, where: str) -> str:
    text = text_of(value) or (str(value).lower() if isinstance(value, bool) else str(value))
    label = as_label(text)
    if where == "name" and label != text:
        return f'Write "{label}". {_NAMES}' if label else _NAME_IT
    return f'Put it in quotes: "{text}".'


def _list(value: str, accepts: Accepts | None) -> str:
    names = [name for name in re.split(r"[\s,]+", value.strip("[]() ,")) if name]
    return _if_accepted(names, f"Write [{', '.join(names)}].", accepts) if names else ""


def _if_accepted(value: Any, action: str, accepts: Accepts | None) -> str:
    return action if accepts is None or accepts(value) else ""
