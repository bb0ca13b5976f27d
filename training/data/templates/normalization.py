# SPDX-License-Identifier: Apache-2.0
"""Arabic text normalization in named steps, which leave all other text alone.

A step is applied to one *run* at a time: Arabic letters with the vowel marks and tatweels between and after them.
Everything else, including Latin letters with combining accents, is never touched.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tadrib.training.errors import Problem, SpecError, nearest

_TATWEEL = "\N{ARABIC TATWEEL}"
_ALEF = "\N{ARABIC LETTER ALEF}"
_MADDAH = "\N{ARABIC MADDAH ABOVE}"
_HAMZA_ABOVE = "\N{ARABIC HAMZA ABOVE}"
_HAMZA_BELOW = "\N{ARABIC HAMZA BELOW}"
_ON_ALEF = _MADDAH + _HAMZA_ABOVE + _HAMZA_BELOW
_ALEFS = (
    "\N{ARABIC LETTER ALEF WITH MADDA ABOVE}"
    "\N{ARABIC LETTER ALEF WITH HAMZA ABOVE}"
    "\N{ARABIC LETTER ALEF WITH HAMZA BELOW}"
    "\N{ARABIC LETTER ALEF WASLA}"
)


_BLOCKS = range(0x0600, 0x1EF00)
"""From the first to the last Arabic block of Unicode; scanning all characters would delay every start by a second."""


def _arabic(category: str) -> str:
    """All characters of a Unicode category with a name that begins with ARABIC."""
    return "".join(
        c
        for c in map(chr, _BLOCKS)
        if unicodedata.category(c) == category and unicodedata.name(c, "").startswith("ARABIC")
    )


LETTERS = _arabic("Lo")
MARKS = _arabic("Mn")
# Combining maddah and hamza are parts of decomposed letters, not vowel signs.
DIACRITICS = "".join(mark for mark in MARKS if mark not in _ON_ALEF)

_LETTER_SET = frozenset(LETTERS)
_RUN = re.compile(f"{_TATWEEL}*[{LETTERS}][{LETTERS}{MARKS}{_TATWEEL}]*")
_DIACRITIC = re.compile(f"[{DIACRITICS}]")
_ALEF_FORM = re.compile(f"[{_ALEF}{_ALEFS}][{_ON_ALEF}]*")


def _nfc(run: str) -> str:
    return unicodedata.normalize("NFC", run)


def _alef(run: str) -> str:
    return _ALEF_FORM.sub(_ALEF, run)


def _ya(run: str) -> str:
    return run.replace("\N{ARABIC LETTER ALEF MAKSURA}", "\N{ARABIC LETTER YEH}")


def _ta_marbuta(run: str) -> str:
    return run.replace("\N{ARABIC LETTER TEH MARBUTA}", "\N{ARABIC LETTER HEH}")


def _tatweel(run: str) -> str:
    return run.replace(_TATWEEL, "")


def _diacritics(run: str) -> str:
    return _DIACRITIC.sub("", run)


STEPS: dict[str, Callable[[str], str]] = {
    "nfc": _nfc,
    "alef": _alef,
    "ya": _ya,
    "ta_marbuta": _ta_marbuta,
    "tatweel": _tatweel,
    "diacritics": _diacritics,
}


def normalizer(steps: Sequence[str]) -> Callable[[str], str]:
    """A function that applies the named ``steps`` to a text, in the given order.

    Raises:
        SpecError: a step that does not exist.
    """
    unknown = [name for name in steps if name not in STEPS]
    if unknown:
        raise SpecError("text_normalization", [_unknown_step(name) for name in unknown])
    functions = [STEPS[name] for name in steps]

    def apply(match: re.Match[str]) -> str:
        run = match.group()
        for function in functions:
            run = function(run)
        return run

    return lambda text: _RUN.sub(apply, text) if functions else text


def _unknown_step(name: str) -> Problem:
    close = nearest(name, STEPS)
    action = f"Did you mean {close}?" if close else "Remove it."
    return Problem(
        "text_normalization", f"there is no step {name!r}; the steps are {', '.join(STEPS)}.", action
    )


def count_letters(texts: Iterable[str]) -> tuple[int, int]:
    """The number of letters in ``texts``, and of Arabic ones among them."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    letters = sum(count for character, count in counts.items() if character.isalpha())
    return letters, sum(count for character, count in counts.items() if character in _LETTER_SET)
