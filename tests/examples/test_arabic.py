# SPDX-License-Identifier: Apache-2.0
"""The Arabic of the bundled data: numbers read back by an independent reader, nouns, agreement, sums."""

from __future__ import annotations

import random
import re
from collections import defaultdict

import pytest
from arabic.numerals import Noun, counted, dinars, number_words
from arabic.tasks import exercises
from make_data import SEED

DIGIT_WORDS = {
    "صفر": 0, "واحد": 1, "أحد": 1, "اثن": 2, "ثلاث": 3, "أربع": 4,
    "خمس": 5, "ست": 6, "سبع": 7, "ثمان": 8, "تسع": 9, "عشر": 10,
}  # fmt: skip
TENS_ENDINGS = ("ون", "ين")


def read_number(text: str) -> int:
    """The value of a number in words, from the stems of its parts; shares nothing with what wrote it."""
    return sum(read_part(part) for part in re.split(r" و(?=\S)", text))


def read_part(part: str) -> int:
    if part in ("مئة", "مئتان", "مئتين"):
        return 100 if part == "مئة" else 200
    if part.endswith("مئة"):
        return 100 * digit(part.removesuffix("مئة"))
    if part.endswith(" عشر"):
        return 10 + digit(part.removesuffix(" عشر"))
    if part in ("عشرون", "عشرين"):
        return 20
    if part.endswith(TENS_ENDINGS) and digit(part[:-2]) != 2:
        return 10 * digit(part[:-2])
    return digit(part)


def digit(word: str) -> int:
    stem = next(stem for stem in sorted(DIGIT_WORDS, key=len, reverse=True) if word.startswith(stem))
    assert len(word) - len(stem) <= 2, f"{word} is no digit"
    return DIGIT_WORDS[stem]


def by_task(held_out: bool | None = None) -> dict[str, list[tuple[str, str]]]:
    found = defaultdict(list)
    for each in exercises(random.Random(f"{SEED} tasks")):
        if held_out is None or each.held_out is held_out:
            found[each.task].append((each.question, each.answer))
    return found


@pytest.mark.parametrize("case", ["nominative", "oblique"])
def test_every_number_reads_back(case):
    words = [number_words(number, case) for number in range(1000)]
    assert [read_number(text) for text in words] == list(range(1000))


@pytest.mark.parametrize(
    ("number", "nominative", "oblique"),
    [
        (0, "صفر", "صفر"),
        (2, "اثنان", "اثنين"),
        (8, "ثمانية", "ثمانية"),
        (10, "عشرة", "عشرة"),
        (11, "أحد عشر", "أحد عشر"),
        (12, "اثنا عشر", "اثني عشر"),
        (13, "ثلاثة عشر", "ثلاثة عشر"),
        (18, "ثمانية عشر", "ثمانية عشر"),
        (20, "عشرون", "عشرين"),
        (21, "واحد وعشرون", "واحد وعشرين"),
        (47, "سبعة وأربعون", "سبعة وأربعين"),
        (82, "اثنان وثمانون", "اثنين وثمانين"),
        (100, "مئة", "مئة"),
        (101, "مئة وواحد", "مئة وواحد"),
        (112, "مئة واثنا عشر", "مئة واثني عشر"),
        (200, "مئتان", "مئتين"),
        (247, "مئتان وسبعة وأربعون", "مئتين وسبعة وأربعين"),
        (300, "ثلاثمئة", "ثلاثمئة"),
        (888, "ثمانمئة وثمانية وثمانون", "ثمانمئة وثمانية وثمانين"),
    ],
)
def test_numbers_are_written_in_both_cases(number, nominative, oblique):
    assert (number_words(number), number_words(number, "oblique")) == (nominative, oblique)


def test_a_number_out_of_range_is_refused():
    with pytest.raises(ValueError, match="from 0 to 999, got 1000"):
        number_words(1000)


def test_the_data_pair_numbers_with_their_words():
    tasks = by_task()
    for question, answer in tasks["number_to_words"]:
        assert read_number(answer) == int(re.search(r"\d+", question)[0])
    for question, answer in tasks["words_to_number"]:
        assert read_number(question.split(": ")[1]) == int(answer)


def test_held_out_numbers_are_seen_in_neither_direction():
    def numbers(held_out: bool) -> set[int]:
        tasks = by_task(held_out)
        return {read_number(answer) for _, answer in tasks["number_to_words"]} | {
            int(answer) for _, answer in tasks["words_to_number"]
        }

    assert len(numbers(True)) == 60
    assert not numbers(True) & numbers(False)


def test_sums_are_right():
    for question, answer in by_task()["sums"]:
        first, second = re.fullmatch(r".* (\S+) و(\S+)؟", question).groups()
        assert read_number(first) + read_number(second) == read_number(answer)


def test_a_counted_noun_takes_the_number_in_the_opposite_gender():
    book = Noun("كتاب", "كتب", "book", "books", False)
    city = Noun("مدينة", "مدن", "city", "cities", True)
    assert [counted(number, book) for number in (1, 2, 3, 8, 10)] == [
        "كتاب واحد", "كتابان", "ثلاثة كتب", "ثمانية كتب", "عشرة كتب",
    ]  # fmt: skip
    assert [counted(number, city) for number in (1, 2, 3, 8, 10)] == [
        "مدينة واحدة", "مدينتان", "ثلاث مدن", "ثماني مدن", "عشر مدن",
    ]  # fmt: skip
    assert [dinars(number) for number in (3, 10, 11, 99)] == ["دنانير", "دنانير", "دينارًا", "دينارًا"]


def test_held_out_answers_are_of_a_kind_that_training_shows():
    """Every held-out fact is in training in another wording, every held-out combination in its parts."""
    trained, held_out = by_task(False), by_task(True)
    for task in ("sums", "capitals", "plurals"):
        assert {answer for _, answer in held_out[task]} <= {answer for _, answer in trained[task]}
    for task in ("counted_nouns", "described_nouns", "number_to_words"):
        words = {word for _, answer in trained[task] for word in answer.split()}
        assert {word for _, answer in held_out[task] for word in answer.split()} <= words
