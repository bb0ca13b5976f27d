# SPDX-License-Identifier: Apache-2.0
"""Tasks with one right answer: numerals, sums, capitals, plurals, translation; each with its own hold-out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from arabic.numerals import counted, number_words
from arabic.words import ADJECTIVES, CAPITALS, NOUNS, PHRASES, PLURALS

COUNT_ENGLISH = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

TO_ARABIC = ("ترجم إلى العربية: {}", "كيف نقول بالعربية: {}")
TO_ENGLISH = ("ترجم إلى الإنجليزية: {}", "كيف نقول بالإنجليزية: {}")


class Exercise(NamedTuple):
    """A question with its only right answer, its task, and whether it is kept for evaluation."""

    task: str
    question: str
    answer: str
    held_out: bool


def exercises(rng: random.Random) -> list[Exercise]:
    """All exercises, in task order; ``rng`` chooses the numbers and what is held out."""
    unseen = set(rng.sample([n for n in range(21, 1000) if n % 10 and n % 100 not in (11, 12)], 60))
    return [
        *number_to_words(rng, unseen),
        *words_to_number(rng, unseen),
        *sums(),
        *capitals(),
        *plurals(),
        *counted_nouns(rng),
        *described_nouns(rng),
        *phrases(),
    ]


def number_to_words(rng: random.Random, unseen: set[int]) -> Iterator[Exercise]:
    """Digits to words; the held-out numbers occur nowhere in training."""
    wordings = ("اكتب العدد {} بالكلمات.", "ما العدد {} بالكلمات؟", "كيف يُكتب العدد {} بالكلمات؟")
    for number in _numbers(rng, unseen, 500):
        question = rng.choice(wordings).format(number)
        yield Exercise("number_to_words", question, number_words(number), number in unseen)


def words_to_number(rng: random.Random, unseen: set[int]) -> Iterator[Exercise]:
    """Words to digits; the same numbers are held out as for the way there."""
    wordings = ("اكتب بالأرقام: {}", "ما العدد بالأرقام: {}")
    for number in _numbers(rng, unseen, 350):
        question = rng.choice(wordings).format(number_words(number))
        yield Exercise("words_to_number", question, str(number), number in unseen)


def _numbers(rng: random.Random, unseen: set[int], count: int) -> list[int]:
    """Every number below 100, all ending in 00, 11 or 12, the unseen ones, and others up to ``count``."""
    always = {*range(100), *(n for n in range(100, 1000) if n % 100 in (0, 11, 12)), *unseen}
    others = [n for n in range(100, 1000) if n not in always]
    return [*sorted(always), *rng.sample(others, count - len(always))]


def sums() -> Iterator[Exercise]:
    """Addition up to 10 + 10 in words, in three wordings; each sum is held out in one of them, or in none."""
    wordings = ("ما مجموع {} و{}؟", "ما حاصل جمع {} و{}؟", "كم مجموع {} و{}؟")
    for a in range(1, 11):
        for b in range(1, 11):
            for index, wording in enumerate(wordings):
                question = wording.format(number_words(a, "oblique"), number_words(b, "oblique"))
                yield Exercise("sums", question, number_words(a + b), index == (a + 3 * b) % 6)


def capitals() -> Iterator[Exercise]:
    """Capitals in five wordings; each country is held out in one of them."""
    wordings = (
        "ما عاصمة {}؟",
        "ما هي عاصمة {}؟",
        "ما اسم عاصمة {}؟",
        "اذكر عاصمة {}.",
        "أي مدينة هي عاصمة {}؟",
    )
    for place, (country, capital) in enumerate(CAPITALS.items()):
        for index, wording in enumerate(wordings):
            answer = f"عاصمة {country} هي {capital}."
            yield Exercise("capitals", wording.format(country), answer, index == place % len(wordings))


def plurals() -> Iterator[Exercise]:
    """Plurals, mostly broken ones, in five wordings; each noun is held out in one of them."""
    wordings = (
        "ما جمع كلمة {}؟",
        "هات جمع كلمة {}.",
        "اذكر جمع كلمة {}.",
        "كيف نجمع كلمة {}؟",
        "ما صيغة الجمع من كلمة {}؟",
    )
    for place, (singular, plural) in enumerate(PLURALS.items()):
        for index, wording in enumerate(wordings):
            yield Exercise("plurals", wording.format(singular), plural, index == place % len(wordings))


def counted_nouns(rng: random.Random) -> Iterator[Exercise]:
    """One to ten of a noun, into Arabic: dual, gender polarity, plural; unseen plurals after a number."""
    held = set(rng.sample([(n, i) for n in range(3, 11) for i in range(len(NOUNS))], 36))
    for index, noun in enumerate(NOUNS):
        for number in range(1, 11):
            english = f"{COUNT_ENGLISH[number - 1]} {noun.english if number == 1 else noun.english_plural}"
            question = rng.choice(TO_ARABIC).format(english)
            yield Exercise("counted_nouns", question, counted(number, noun), (number, index) in held)


def described_nouns(rng: random.Random) -> Iterator[Exercise]:
    """Definite noun and adjective, both ways: agreement in gender and article; unseen pairs of the two."""
    held = set(rng.sample([(n, a) for n in range(len(NOUNS)) for a in range(len(ADJECTIVES))], 28))
    for index, noun in enumerate(NOUNS):
        for place, (adjective, english_adjective) in enumerate(ADJECTIVES):
            arabic = f"ال{noun.singular} ال{adjective}{'ة' if noun.feminine else ''}"
            english = f"the {english_adjective} {noun.english}"
            kept = (index, place) in held
            yield Exercise("described_nouns", rng.choice(TO_ARABIC).format(english), arabic, kept)
            yield Exercise("described_nouns", rng.choice(TO_ENGLISH).format(arabic), english, kept)


def phrases() -> Iterator[Exercise]:
    """Set phrases, both directions in two wordings; each phrase is held out in one of the four."""
    for place, (english, arabic) in enumerate(PHRASES.items()):
        pairs = [(wording.format(english), arabic) for wording in TO_ARABIC]
        pairs += [(wording.format(arabic), english) for wording in TO_ENGLISH]
        for index, (question, answer) in enumerate(pairs):
            yield Exercise("phrases", question, answer, index == place % len(pairs))
