# SPDX-License-Identifier: Apache-2.0
"""The bundled data: current, small, valid for their methods, and held-out rows that training never shows."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from functools import cache

import make_data
import pytest
from make_data import DATA, data_sets, style_questions

from tadrib.training.config import METHODS
from tadrib.training.data.rows.models import row_model

STEMS = [f"{method}_{name}" for method in METHODS for name in ("train", "heldout")]


@cache
def read(stem: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()]


def prompts(stem: str) -> set[str]:
    return {row.get("prompt") or row["instruction"] for row in read(stem)}


def answers_of(row: dict) -> list[str]:
    texts = [row.get(key) for key in ("response", "completion", "chosen")]
    rejected = row.get("rejected", [])
    return [*filter(None, texts), *([rejected] if isinstance(rejected, str) else rejected)]


def test_the_files_are_what_the_script_writes():
    assert make_data.main(["--check"]) == 0
    assert {path.name for path in DATA.iterdir()} == {f"{stem}.jsonl" for stem in data_sets()}
    assert sorted(data_sets()) == sorted(STEMS)


def test_the_check_names_a_file_that_differs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_data, "DATA", tmp_path)
    assert make_data.main([]) == 0
    assert make_data.main(["--check"]) == 0
    changed = tmp_path / "dpo_train.jsonl"
    changed.write_text(changed.read_text(encoding="utf-8").replace("بكل سرور", "بسرور"), encoding="utf-8")
    assert make_data.main(["--check"]) == 1
    assert "dpo_train.jsonl: differs" in capsys.readouterr().err


def test_another_seed_gives_other_rows():
    assert data_sets(seed=1)["sft_heldout"] != data_sets()["sft_heldout"]


def test_the_files_are_small_and_readable():
    sizes = {path.name: path.stat().st_size for path in DATA.iterdir()}
    assert max(sizes.values()) < 380_000, sizes
    assert sum(sizes.values()) < 3_000_000
    assert all(r"\u" not in path.read_text(encoding="utf-8") for path in DATA.iterdir())


@pytest.mark.parametrize("stem", STEMS)
def test_every_row_is_valid_for_its_method(stem):
    model = row_model(stem.split("_")[0])
    for row in read(stem):
        model.model_validate(row)
        assert set(row) <= set(model.model_fields)


@pytest.mark.parametrize("stem", STEMS)
def test_texts_are_normalised_and_trimmed(stem):
    for row in read(stem):
        for text in [row.get("prompt") or row["instruction"], *answers_of(row)]:
            assert text == unicodedata.normalize("NFC", text).strip()
            assert "  " not in text


@pytest.mark.parametrize("stem", STEMS)
def test_no_row_occurs_twice(stem):
    assert max(Counter(json.dumps(row, sort_keys=True) for row in read(stem)).values()) == 1


@pytest.mark.parametrize("method", METHODS)
def test_held_out_prompts_occur_in_no_training_file(method):
    trained = set().union(*(prompts(f"{other}_train") for other in METHODS))
    assert not prompts(f"{method}_heldout") & trained


@pytest.mark.parametrize("method", sorted(style_questions()))
def test_sft_shows_good_and_bad_manners_equally_often(method):
    """And rare and common wordings as often in either manner, which is what starts a preference at one half."""
    count = Counter((row["instruction"], row["response"]) for row in read("sft_train"))
    questions = style_questions()[method]

    def shown(manner: str) -> list[int]:
        answers = [getattr(question, manner) for question in questions]
        return [
            sum(count[q.prompt, a[place]] for q, a in zip(questions, answers, strict=True))
            for place in (0, 1, 2)
        ]

    good, bad = shown("preferred"), shown("dispreferred")
    assert sum(good) == sum(bad) == make_data.SFT_QUESTIONS_PER_METHOD
    assert good == sorted(good, reverse=True)
    assert all(abs(one - other) <= 2 for one, other in zip(good, bad, strict=True))


def test_the_better_answer_keeps_what_its_set_is_about():
    arabic = {chr(code) for code in range(0x0600, 0x0700)}
    assert all(set(row["chosen"]) <= arabic | set(" .") for row in read("cpo_train"))
    assert all(
        set(text) & set("abcdefghijklmnopqrstuvwxyz") for row in read("cpo_train") for text in row["rejected"]
    )
    assert all(set(row["hard_negatives"][0]) - arabic - set(" .") for row in read("cpo_train"))
    assert not any(character.isdigit() for row in read("simpo_train") for character in row["chosen"])
    assert all(any(map(str.isdigit, row["rejected"])) for row in read("simpo_train"))
    assert all(row["chosen_length"] < 4 < 13 < row["rejected_length"] for row in read("ipo_train"))
    assert all(("الساعة" in row["completion"]) is row["label"] for row in read("kto_train"))
