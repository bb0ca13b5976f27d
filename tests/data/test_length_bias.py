# SPDX-License-Identifier: Apache-2.0
"""Length bias of pairs: numbers made by hand, which lengths are counted, and when it is a warning."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tadrib.training.config import METHODS
from tadrib.training.data.blocks.facts import PairLengths
from tadrib.training.data.prepare import prepare_data
from tadrib.training.data.report.check import DataReport, check_data
from tadrib.training.data.report.length_bias import LengthBias, length_bias_warnings
from tadrib.training.data.report.length_bias import measure as measure_pairs
from tadrib.training.data.report.table import render
from tests.data.builders import build_tokenizer, config, row, rows, write_jsonl


def check(tmp_path: Path, method: str, items: list, tokenizer: object = None, **fields: object) -> DataReport:
    name = write_jsonl(tmp_path / "rows.jsonl", items)
    return check_data(name, method, config(method, name, **fields), tokenizer)  # type: ignore[arg-type]


def measure(pairs: list[tuple[int, int]], unit: str) -> LengthBias:
    lengths = PairLengths()
    lengths.add(pairs)
    return measure_pairs(lengths, unit)


def bias_of(report: DataReport) -> LengthBias:
    assert report.length_bias is not None
    return report.length_bias


@pytest.mark.parametrize(
    ("pairs", "correlation"),
    [
        ([(5, 1), (9, 2), (4, 3)], 1.0),
        ([(1, 5), (2, 9)], -1.0),
        ([(5, 1), (1, 5)], 0.0),
        ([(3, 3), (7, 7)], 0.0),
        # distances 1, 2, 2, 4 have ranks 1, 2.5, 2.5, 4; for: 2.5 + 4, against: 1 + 2.5; the equal pair is left out
        ([(1, 2), (4, 2), (2, 4), (6, 2), (8, 8)], (6.5 - 3.5) / 10),
    ],
)
def test_the_rank_correlation_is_that_of_hand_arithmetic(pairs, correlation):
    assert measure(pairs, "tokens").rank_correlation == pytest.approx(correlation)


def test_means_and_shares_leave_room_for_equal_lengths():
    bias = measure([(4, 1), (2, 2), (1, 3), (5, 2)], "tokens")
    assert (bias.pairs, bias.mean_chosen, bias.mean_rejected) == (4, 3.0, 2.0)
    assert (bias.chosen_longer, bias.rejected_longer) == (0.5, 0.25)


def test_given_lengths_are_counted_when_every_row_has_them(tmp_path):
    items = [row("ipo", chosen_length=2, rejected_length=8), row("ipo", chosen_length=4, rejected_length=6)]
    bias = bias_of(check(tmp_path, "ipo", items, build_tokenizer()))
    assert (bias.unit, bias.mean_chosen, bias.mean_rejected, bias.rank_correlation) == ("given", 3, 7, -1)
    assert bias_of(check(tmp_path, "ipo", [*items, row("ipo")], build_tokenizer())).unit == "tokens"


def test_else_scored_tokens_are_counted_or_characters_without_a_tokenizer(tmp_path):
    tokenizer = build_tokenizer()
    items = [row("dpo", chosen="القاهرة", rejected=["عمان", "بغداد بغداد"])]
    bias = bias_of(check(tmp_path, "dpo", items, tokenizer))
    chosen, *rejected = (len(tokenizer(text)["input_ids"]) + 1 for text in ("القاهرة", "عمان", "بغداد بغداد"))
    assert (bias.unit, bias.pairs) == ("tokens", 2)
    assert (bias.mean_chosen, bias.mean_rejected) == (chosen, sum(rejected) / 2)
    assert bias_of(check(tmp_path, "dpo", items)) == measure([(7, 4), (7, 11)], "characters")


def test_hard_negatives_are_pairs_too(tmp_path):
    report = check(tmp_path, "cpo", [row("cpo", hard_negatives=["عمان القديمة"])])
    assert bias_of(report).pairs == 3


@pytest.mark.parametrize("method", METHODS)
def test_every_pair_method_reports_it_and_no_other(tmp_path, method):
    report = check(tmp_path, method, rows(method, 4), build_tokenizer())
    assert (report.length_bias is None) == (method in ("sft", "kto"))
    console = Console(file=io.StringIO(), width=160)
    console.print(render(report))
    assert ("length bias" in console.file.getvalue()) == (method not in ("sft", "kto"))  # type: ignore[attr-defined]
    assert DataReport.from_dict(report.to_dict()) == report


def test_a_report_of_before_there_was_a_length_bias_can_still_be_read(tmp_path):
    values = check(tmp_path, "dpo", rows("dpo", 2)).to_dict()
    del values["length_bias"]
    assert DataReport.from_dict(values).length_bias is None


LONG = [item | {"chosen": "القاهرة " * (3 + number)} for number, item in enumerate(rows("ipo", 20))]
SHORT = [item | {"rejected": "القاهرة " * (3 + number)} for number, item in enumerate(rows("ipo", 20))]


@pytest.mark.parametrize(("items", "kind"), [(LONG, "longer"), (SHORT, "shorter")])
def test_a_strong_bias_that_is_not_normalised_away_is_a_warning(tmp_path, items, kind):
    report = check(tmp_path, "ipo", items, build_tokenizer(), length_normalization="none")
    (warning,) = [warning for warning in report.warnings if "length_normalization" in warning]
    assert warning.startswith(f"in 100% of pairs the chosen answer is the {kind} one.")
    assert "Set length_normalization: tokens" in warning
    settings = config("ipo", report.dataset, length_normalization="none")
    assert warning in prepare_data(settings, "ipo", build_tokenizer()).report.warnings


@pytest.mark.parametrize(
    ("items", "normalization"), [(LONG, "tokens"), (rows("ipo", 20), "none"), (LONG[:19], "none")]
)
def test_normalised_weak_or_scanty_bias_is_no_warning(tmp_path, items, normalization):
    if items is not LONG and len(items) == 20:  # rejected and chosen longer in turn
        items = [
            item | ({"chosen": "القاهرة الكبرى"} if number % 2 else {"rejected": "بغداد القديمة الكبيرة"})
            for number, item in enumerate(items)
        ]
    report = check(tmp_path, "ipo", items, build_tokenizer(), length_normalization=normalization)
    assert length_bias_warnings(report.length_bias, config("ipo", length_normalization=normalization)) == []
