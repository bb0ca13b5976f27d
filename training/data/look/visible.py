# SPDX-License-Identifier: Apache-2.0
"""Text of a dataset made safe and readable for a terminal: nothing in it can move the cursor, change colours or turn
the direction of what stands beside it."""

from __future__ import annotations

import textwrap
import unicodedata

_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
_JOINERS = frozenset("\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}")
"""Format characters that spell words, in Persian and in emoji; all others are written as escapes."""
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_RIGHT_TO_LEFT = frozenset(("R", "AL", "AN"))


def visible(text: str) -> str:
    """``text`` in one line: line breaks as ``⏎``, every other control, format or surrogate character as its escape."""
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character == "\n":
        return "⏎"
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")


def isolated(text: str) -> str:
    """``text`` (made `visible`) in a directional isolate if any of it runs from right to left: a terminal with
    bidirectional text (UAX #9) then orders it by itself, and leaves what stands around it in place."""
    if any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text):
        return f"{_FIRST_STRONG_ISOLATE}{text}{_POP_ISOLATE}"
    return text


def visible_lines(text: str, width: int) -> list[str]:
    """The lines of ``text``, cut to ``width`` characters between words, each `visible` and `isolated`, because a
    terminal orders every line by itself."""
    whole = [visible(line) for line in text.split("\n")]
    return [isolated(part) for line in whole for part in _wrapped(line, width) or [""]]


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, expand_tabs=False, replace_whitespace=False, drop_whitespace=False)
