# SPDX-License-Identifier: Apache-2.0
"""Arabic numerals: cardinal numbers in words, counted nouns, hours; Modern Standard Arabic, unvocalised.

Unvocalised spelling shows the case of duals and tens only: nominative where an answer stands alone, oblique
(genitive and accusative look alike) after another noun. Abstract counting uses the forms in ta marbuta
(``ثلاثة``); from 3 to 10, a counted noun takes the number in the opposite gender.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Case = Literal["nominative", "oblique"]

UNITS = ("صفر", "واحد", "اثنان", "ثلاثة", "أربعة", "خمسة", "ستة", "سبعة", "ثمانية", "تسعة", "عشرة")
FEMININE_UNITS = ("", "واحدة", "اثنتان", "ثلاث", "أربع", "خمس", "ست", "سبع", "ثماني", "تسع", "عشر")
TENS = ("", "", "عشرون", "ثلاثون", "أربعون", "خمسون", "ستون", "سبعون", "ثمانون", "تسعون")
HUNDREDS = ("", "مئة", "مئتان", "ثلاثمئة", "أربعمئة", "خمسمئة", "ستمئة", "سبعمئة", "ثمانمئة", "تسعمئة")
HOURS = (
    "",
    "الواحدة",
    "الثانية",
    "الثالثة",
    "الرابعة",
    "الخامسة",
    "السادسة",
    "السابعة",
    "الثامنة",
    "التاسعة",
    "العاشرة",
    "الحادية عشرة",
    "الثانية عشرة",
)


class Noun(NamedTuple):
    """A countable noun: singular, plural, English singular and plural, and whether it is feminine."""

    singular: str
    plural: str
    english: str
    english_plural: str
    feminine: bool

    @property
    def dual(self) -> str:
        """Nominative dual: ``كتابان``, ``سيارتان``."""
        return (self.singular[:-1] + "ت" if self.singular.endswith("ة") else self.singular) + "ان"


def number_words(number: int, case: Case = "nominative") -> str:
    """``number`` (0 to 999) in words: 247 is ``مئتان وسبعة وأربعون``; oblique 20 is ``عشرين``."""
    if not 0 <= number <= 999:
        raise ValueError(f"number words are defined from 0 to 999, got {number}")
    hundreds, rest = divmod(number, 100)
    parts = [_in_case(HUNDREDS[hundreds], case)] if hundreds else []
    if rest or not hundreds:
        parts += _below_hundred(rest, case)
    return " و".join(parts)


def counted(number: int, noun: Noun) -> str:
    """``number`` (1 to 10) of a noun: ``كتاب واحد``, ``كتابان``, ``ثلاثة كتب``, ``ثلاث سيارات``."""
    if number == 1:
        return f"{noun.singular} {FEMININE_UNITS[1] if noun.feminine else UNITS[1]}"
    if number == 2:
        return noun.dual
    return f"{(FEMININE_UNITS if noun.feminine else UNITS)[number]} {noun.plural}"


def dinars(number: int) -> str:
    """Dinars after a number from 3 to 99: ``خمسة دنانير`` to 10, then singular, ``عشرون دينارًا``."""
    return "دنانير" if number <= 10 else "دينارًا"


def _below_hundred(number: int, case: Case) -> list[str]:
    tens, units = divmod(number, 10)
    if number <= 10:
        return [_in_case(UNITS[number], case)]
    if number == 11:
        return ["أحد عشر"]
    if number == 12:
        return ["اثنا عشر" if case == "nominative" else "اثني عشر"]
    if number < 20:
        return [f"{UNITS[units]} عشر"]
    return [_in_case(UNITS[units], case)] * bool(units) + [_in_case(TENS[tens], case)]


def _in_case(word: str, case: Case) -> str:
    return word[:-2] + "ين" if case == "oblique" and word.endswith(("ان", "ون")) else word
