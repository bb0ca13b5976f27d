# SPDX-License-Identifier: Apache-2.0
"""Arabic normalisation: every step does what its example says, and nothing to text that is not Arabic."""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tadrib.training.data.templates.normalization import LETTERS, MARKS, STEPS, count_letters, normalizer
from tadrib.training.errors import SpecError

ARABIC = st.text(alphabet=st.sampled_from(LETTERS[:60] + MARKS[:40] + "ـ ،0a"))


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ("nfc", "ا\u0653دم و\u0654", "آدم ؤ"),
        ("alef", "أحمد إلى آخر ٱلليل", "احمد الى اخر الليل"),
        ("alef", "ا\u0654حمد", "احمد"),
        ("ya", "مستشفى على", "مستشفي علي"),
        ("ta_marbuta", "مدرسة كبيرة", "مدرسه كبيره"),
        ("tatweel", "العـــربية ـهـ", "العربية ه"),
        ("diacritics", "مُدَرِّسَةٌ هٰذا", "مدرسة هذا"),
        ("diacritics", "ا\u0653دم", "ا\u0653دم"),
    ],
)
def test_a_step_does_what_its_example_says(step: str, before: str, after: str) -> None:
    assert normalizer([step])(before) == after


def test_every_arabic_letter_and_mark_of_unicode_is_known() -> None:
    arabic = {c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.name(c, "").startswith("ARABIC")}
    assert {c for c in arabic if unicodedata.category(c) == "Lo"} == set(LETTERS)
    assert {c for c in arabic if unicodedata.category(c) == "Mn"} == set(MARKS)


@pytest.mark.parametrize("step", STEPS)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters=LETTERS)))
def test_text_without_arabic_letters_is_unchanged(step: str, text: str) -> None:
    assert normalizer([step])(text) == text


@pytest.mark.parametrize("step", STEPS)
def test_what_stands_beside_arabic_is_unchanged(step: str) -> None:
    others = ("cafe\u0301", "A\u030a", "\u1112\u1161\u11ab", "q\u064b", "\u25cc\u0651", "ـ", "\u212b", "ﬁ")
    for other in others:
        assert normalizer([step])(f"{other} ب {other}").count(other) == 2, other


@pytest.mark.parametrize("step", STEPS)
@given(text=ARABIC)
def test_a_step_done_twice_is_a_step_done_once(step: str, text: str) -> None:
    once = normalizer([step])(text)
    assert normalizer([step])(once) == once


@given(text=st.text(alphabet=st.sampled_from(LETTERS + MARKS), min_size=1).filter(lambda t: t[0] in LETTERS))
def test_nfc_of_arabic_is_unicode_nfc(text: str) -> None:
    assert normalizer(["nfc"])(text) == unicodedata.normalize("NFC", text)


def test_the_guide_has_a_true_example_of_every_step() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    examples = re.findall(r"^\| `(\w+)` \|[^|]*\| `([^`]+)` \| `([^`]+)` \|$", guide, flags=re.MULTILINE)
    assert [step for step, _, _ in examples] == list(STEPS)
    for step, before, after in examples:
        assert before != after, step
        assert normalizer([step])(before) == after, step


def test_steps_run_in_the_order_given() -> None:
    assert normalizer(["diacritics", "tatweel", "alef", "ya", "ta_marbuta"])("أُمَّـــةٌ إلى") == "امه الي"
    assert normalizer([])("أُمَّـــةٌ") == "أُمَّـــةٌ"


def test_an_unknown_step_names_the_nearest() -> None:
    with pytest.raises(
        SpecError, match=r"there is no step 'tatwil'; the steps are nfc, alef.*Did you mean tatweel\?"
    ):
        normalizer(["nfc", "tatwil"])


def test_letters_are_counted_alone() -> None:
    assert count_letters(["مصر 123 abc"]) == (6, 3)
    assert count_letters(["123 !"]) == (0, 0)
