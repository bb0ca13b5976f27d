# SPDX-License-Identifier: Apache-2.0
"""The data report: its numbers on data made by hand, its warnings, its table, and JSON without loss."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tadrib.training.data.encoding import Encoder
from tadrib.training.data.report.check import DataReport, check_data
from tadrib.training.data.report.statistics import Percentiles
from tadrib.training.data.report.table import render
from tadrib.training.data.rows.models import DPORow
from tests.data.builders import assistant, build_tokenizer, config, row, rows, user, write_jsonl


def check(tmp_path: Path, method: str, items: list, tokenizer: object = None, **fields: object) -> DataReport:
    name = write_jsonl(tmp_path / "rows.jsonl", items)
    return check_data(name, method, config(method, name, **fields), tokenizer)  # type: ignore[arg-type]


def shown(report: DataReport) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(render(report))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_bad_rows_are_counted_by_kind_with_their_lines_and_do_not_raise(tmp_path: Path) -> None:
    items = [row("dpo"), row("dpo", chosen=""), "{", row("dpo", chosen=""), "", row("dpo", id=3)]
    report = check(tmp_path, "dpo", items, build_tokenizer())
    assert (report.rows, report.usable_rows, report.bad_rows, report.blank_lines) == (5, 2, 3, 1)
    counted = {problem.kind: (problem.column, problem.count, problem.places) for problem in report.problems}
    assert counted == {"empty": ("chosen", 2, [2, 4]), "broken_json": ("", 1, [3])}
    assert report.unknown_columns == {"id": 1}
    assert not report.ok
    assert any("3 of 5 rows are bad, and max_bad_rows is 0" in refusal for refusal in report.refusals)


def test_a_report_does_not_grow_with_the_columns_that_rows_name(tmp_path: Path) -> None:
    items = [row("sft", **{f"extra{n}": 1, f"more{n}": 1}) for n in range(300)]
    report = check(tmp_path, "sft", items)
    assert (len(report.unknown_columns), report.has_more_columns) == (100, True)
    assert report.unknown_columns["extra0"] == 1
    assert "more49 (1 rows), …" in shown(report)
    assert DataReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    extra = {f"extra{n}": 1 for n in range(1000)}
    wide = check(tmp_path, "sft", [row("sft", **extra), row("sft", extra5=1), extra])
    assert (len(wide.unknown_columns), wide.unknown_columns["extra5"]) == (100, 2)
    assert len(max(wide.refusals, key=len)) < 500


def test_a_report_does_not_grow_with_the_problems_that_rows_name(tmp_path: Path) -> None:
    repeated = [f'{{"column{n}": 1, "column{n}": 2}}' for n in range(300)]
    report = check(tmp_path, "sft", [*repeated, *({"instruction": 3, "response": ""} for _ in range(300))])
    assert report.bad_rows == 600
    kinds = {(problem.kind, problem.column): problem.count for problem in report.problems}
    assert len(kinds) == 100 + 3
    assert sum(count for (kind, _), count in kinds.items() if kind == "repeated_key") == 300
    assert kinds["empty", "response"] == 300
    assert len(report.refusals) == 21
    assert max(len(problem.places) for problem in report.problems) == 8


def test_all_rows_share_the_objects_of_their_token_ids() -> None:
    tokenizer = build_tokenizer()
    encoder = Encoder(tokenizer, config("dpo", instruction_template="plain"), "dpo")
    first, second = (encoder.encode(DPORow(**row("dpo"))) for _ in range(2))
    pairs = zip(first.prompt, second.prompt, strict=True)
    assert max(first.prompt) > 256, "Python itself shares smaller ones"
    assert all(one is other for one, other in pairs)
    assert first.completions[0].tokens[0] is second.completions[0].tokens[0]


def test_lengths_without_a_tokenizer_are_characters_of_the_texts(tmp_path: Path) -> None:
    items = [{"instruction": "x" * n, "input": "y", "response": "z" * 10} for n in range(1, 101)]
    report = check(tmp_path, "sft", items)
    assert report.length_unit == "characters"
    assert report.lengths["prompt"] == Percentiles(p50=51, p90=91, p99=100, max=101)
    assert report.lengths["completion"] == Percentiles(10, 10, 10, 10)
    assert report.lengths["total"].max == 111
    assert (report.tokens_per_word, report.boundary_merges, report.templates) == (None, None, {})


def test_lengths_with_a_tokenizer_are_tokens_of_what_is_trained_on(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    report = check(tmp_path, "cpo", rows("cpo", 3), tokenizer, max_length=10, max_prompt_length=6)
    completions = [len(tokenizer(text)["input_ids"]) + 1 for text in ("القاهرة", "عمان", "بغداد")]
    prompt = len(tokenizer(rows("cpo", 1)[0]["prompt"])["input_ids"])
    assert report.lengths["completion"].max == max(completions)
    assert report.lengths["prompt"].max == prompt
    assert report.lengths["total"].max == prompt + max(completions)
    assert report.limits == {"max_prompt_length": 6, "max_length": 10}
    assert (report.over_long, report.truncation_rate, report.answers_per_row) == (3, 1.0, 3.0)
    assert any("Set max_length:" in refusal for refusal in report.refusals)
    words = 3
    assert report.tokens_per_word == (sum(completions) - 3) / words


def test_repetitions_labels_and_arabic_letters_are_counted(tmp_path: Path) -> None:
    items = [row("kto"), row("kto"), row("kto", label=False), row("kto", prompt="abc\n", completion="مصر")]
    report = check(tmp_path, "kto", items, build_tokenizer())
    assert (report.duplicate_rows, report.duplicate_prompts) == (1, 2)
    assert report.labels == {"desirable": 3, "undesirable": 1}
    arabic = 3 * len("ماعاصمةمصر" + "القاهرة") + 3
    assert report.arabic_share == pytest.approx(arabic / (arabic + 3))


def test_one_sided_labels_and_over_long_rows_are_refusals_of_a_check(tmp_path: Path) -> None:
    report = check(tmp_path, "kto", [row("kto"), row("kto")])
    assert ["all 2 rows are desirable" in refusal for refusal in report.refusals] == [True]
    long = check(tmp_path, "sft", [row("sft")], build_tokenizer(), max_seq_length=8)
    assert ["1 of 1 rows are longer than max_seq_length=8" in refusal for refusal in long.refusals] == [True]
    assert check(tmp_path, "sft", [row("sft")], build_tokenizer(), max_seq_length=8, truncation="drop").ok


def test_a_boundary_where_tokens_would_join_is_counted_and_explained(tmp_path: Path) -> None:
    items = [row("dpo", prompt="ما عاصمة مصر؟ القا", chosen="هرة", rejected="عمان"), row("dpo")]
    report = check(tmp_path, "dpo", items, build_tokenizer())
    assert report.boundary_merges == 1
    assert any("would merge tokens across their boundary" in warning for warning in report.warnings)


def test_what_a_user_may_not_expect_is_a_warning(tmp_path: Path) -> None:
    chat = {"messages": [user("q"), assistant("a")]}
    alpaca = check(tmp_path, "sft", [chat, row("sft")], build_tokenizer())
    assert alpaca.templates == {"tokenizer": 1, "alpaca": 1}
    assert any("1 rows are conversations, which instruction_template: alpaca" in w for w in alpaca.warnings)
    marked = check(
        tmp_path,
        "sft",
        [row("sft", response="a<|im_end|>")],
        build_tokenizer(),
        instruction_template="chatml",
    )
    assert any(
        r"1 rows contain the text of control tokens (first: <|im_end|> in" in w for w in marked.warnings
    )
    assert check(tmp_path, "sft", [row("sft")], build_tokenizer(), instruction_template="auto").warnings == []


def test_a_weight_of_negatives_that_no_row_has_is_a_warning(tmp_path: Path) -> None:
    items = [row("cpo"), row("cpo", hard_negatives=["nearly right"])]
    [warning] = check(
        tmp_path, "cpo", items[:1], build_tokenizer(), hard_negative_weight=2.0, instruction_template="auto"
    ).warnings
    assert warning.startswith("hard_negative_weight: 2.0 has no effect: no row has hard_negatives.")
    assert not any(
        "hard_negative_weight" in w
        for w in check(tmp_path, "cpo", items, build_tokenizer(), hard_negative_weight=2.0).warnings
    )


def test_a_report_is_the_same_after_json(tmp_path: Path) -> None:
    items = [*rows("kto", 6), row("kto", label="true")]
    report = check(tmp_path, "kto", items, build_tokenizer())
    report.eval = check(tmp_path, "kto", items)
    values = json.loads(json.dumps(report.to_dict()))
    assert values["truncation_rate"] == 0.0
    assert DataReport.from_dict(values) == report


def test_the_table_shows_the_numbers_and_takes_brackets_for_text(tmp_path: Path) -> None:
    items = [*rows("cpo", 4), row("cpo", rejected=["[red]", ""]), row("cpo", note="[/x]")]
    refused = shown(check(tmp_path, "cpo", items, build_tokenizer()))
    for part in ("6 (5 usable, 1 bad)", "rejected[1]: is empty", "note (1 rows)", "tokens per word", "p99"):
        assert part in refused, part
    assert "Training refuses these data: 2 problems." in refused
    taken = shown(check(tmp_path, "cpo", items, build_tokenizer(), max_bad_rows=1))
    assert "bad rows" in taken
    assert "rejected[1] │ is empty." in taken
    assert "Training accepts these data." in taken
