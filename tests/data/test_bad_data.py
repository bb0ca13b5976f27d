# SPDX-License-Identifier: Apache-2.0
"""Bad data: rows that are good one by one, and together no ground to train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tadrib.training.data.prepare import prepare_data
from tadrib.training.errors import DataError
from tests.data.builders import build_tokenizer, config, row, rows, write_jsonl


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (True, r"rows.jsonl: label: all 6 rows are desirable .*needs rows of both kinds.*method: sft"),
        (False, r"rows.jsonl: label: all 6 rows are undesirable .*Add rows of the other kind\."),
    ],
)
def test_kto_data_of_one_kind_are_refused(tmp_path: Path, label: bool, message: str) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", [item | {"label": label} for item in rows("kto", 6)])
    with pytest.raises(DataError, match=message):
        prepare_data(config("kto", name), "kto", build_tokenizer())


def test_ipo_with_given_lengths_needs_them(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", rows("ipo", 3))
    settings = config("ipo", name, length_normalization="given")
    with pytest.raises(DataError, match=r"needs chosen_length and rejected_length, which 3 rows lack"):
        prepare_data(settings, "ipo", build_tokenizer())


def test_data_without_a_usable_row_are_refused_even_when_bad_rows_are_accepted(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", [row("sft", response="")])
    with pytest.raises(DataError, match="has no usable row"):
        prepare_data(config("sft", name, max_bad_rows=5), "sft", build_tokenizer())


def test_answers_that_normalisation_makes_equal_are_bad_rows(tmp_path: Path) -> None:
    bad = row("dpo", chosen="كَتَبَ", rejected="كتب")
    name = write_jsonl(tmp_path / "rows.jsonl", [*rows("dpo", 2), bad])
    assert len(prepare_data(config("dpo", name), "dpo", build_tokenizer()).train) == 3
    settings = config("dpo", name, text_normalization=["diacritics"])
    with pytest.raises(
        DataError, match=":3: rejected: is equal to the chosen answer after text_normalization: diac"
    ):
        prepare_data(settings, "dpo", build_tokenizer())
