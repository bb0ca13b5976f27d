# SPDX-License-Identifier: Apache-2.0
"""Prepared data: train and evaluation parts, kept and loaded again, fast enough and for every method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tadrib.training.config import METHODS
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.prepare import PreparedData, prepare_data
from tadrib.training.data.rows.models import parse_row
from tadrib.training.data.split import held_out, prompt_key
from tadrib.training.errors import DataError
from tests.data.builders import build_tokenizer, config, row, rows, write_jsonl


def prompts(data: GroupDataset | None) -> set[tuple[int, ...]]:
    assert data is not None
    return {tuple(data[i].prompt) for i in range(len(data))}


@pytest.mark.parametrize("method", METHODS)
def test_data_of_every_method_are_the_same_after_saving(tmp_path: Path, method: str) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", rows(method, 10))
    data = prepare_data(config(method, name, validation_split=0.2), method, build_tokenizer())
    data.save(tmp_path / "prepared")
    loaded = PreparedData.load(tmp_path / "prepared")
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []
    assert loaded.report == data.report
    assert loaded.eval is not None
    assert data.eval is not None
    assert [loaded.train[i] for i in range(8)] == [data.train[i] for i in range(8)]
    assert [loaded.eval[i] for i in range(2)] == [data.eval[i] for i in range(2)]


def test_saving_again_replaces_what_was_there(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", rows("sft", 10))
    prepare_data(config("sft", name, validation_split=0.2), "sft", build_tokenizer()).save(tmp_path / "out")
    prepare_data(config("sft", name), "sft", build_tokenizer()).save(tmp_path / "out")
    loaded = PreparedData.load(tmp_path / "out")
    assert (len(loaded.train), loaded.eval) == (10, None)


def test_a_split_does_not_depend_on_row_order_and_changes_with_the_seed(tmp_path: Path) -> None:
    items = rows("dpo", 40)
    one = write_jsonl(tmp_path / "one.jsonl", items)
    two = write_jsonl(tmp_path / "two.jsonl", items[::-1])

    def held(name: str, seed: int) -> set[tuple[int, ...]]:
        settings = config("dpo", name, validation_split=0.25, seed=seed)
        return prompts(prepare_data(settings, "dpo", build_tokenizer()).eval)

    assert held(one, 1) == held(two, 1)
    assert len(held(one, 1)) == 10
    assert held(one, 1) != held(one, 2)


def test_rows_of_one_prompt_stay_on_one_side_of_a_split(tmp_path: Path) -> None:
    items = [item | {"chosen": f"answer {n}"} for item in rows("dpo", 10) for n in range(3)]
    name = write_jsonl(tmp_path / "rows.jsonl", items)
    data = prepare_data(config("dpo", name, validation_split=0.3), "dpo", build_tokenizer())
    assert not prompts(data.train) & prompts(data.eval)
    assert (data.report.train_rows, data.report.eval_rows) == (21, 9)
    assert data.report.duplicate_prompts == 20


@pytest.mark.parametrize(("share", "count"), [(0.99, 4), (0.05, 1)])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(tmp_path: Path, share: float, count: int) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", rows("sft", count))
    with pytest.raises(
        DataError, match=rf"of {count} distinct prompts is {count}, but both parts need at least one"
    ):
        prepare_data(config("sft", name, validation_split=share), "sft", build_tokenizer())


def test_a_split_of_few_rows_holds_out_one(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", rows("sft", 4))
    data = prepare_data(config("sft", name, validation_split=0.05), "sft", build_tokenizer())
    assert (data.report.train_rows, data.report.eval_rows) == (3, 1)


def test_a_split_that_leaves_kto_one_kind_of_label_is_refused(tmp_path: Path) -> None:
    items = [row("kto", prompt=f"q{n}\n", label=n == 0) for n in range(10)]
    name = write_jsonl(tmp_path / "rows.jsonl", items)
    keys = np.array([prompt_key(parse_row("kto", item).dialogue) for item in items], dtype=np.uint64)
    takes_the_desirable = [seed for seed in range(20) if held_out(name, keys, 0.5, seed)[0]]
    settings = config("kto", name, validation_split=0.5, seed=takes_the_desirable[0])
    with pytest.raises(DataError, match="without validation_split: label: all 5 rows are undesirable"):
        prepare_data(settings, "kto", build_tokenizer())


def test_evaluation_rows_of_their_own_are_checked_and_compared(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", rows("sft", 6))
    held = write_jsonl(tmp_path / "eval.jsonl", [*rows("sft", 2), row("sft", instruction="another")])
    data = prepare_data(config("sft", train, eval_dataset_path=held), "sft", build_tokenizer())
    assert data.eval is not None
    assert (len(data.train), len(data.eval)) == (6, 3)
    assert data.report.eval is not None
    assert data.report.eval.dataset == held
    assert "2 of 3 evaluation rows have a prompt that is also in the training data." in data.report.warnings
    write_jsonl(tmp_path / "eval.jsonl", [row("sft", response="")])
    with pytest.raises(DataError, match=r"eval.jsonl:1: response: is empty"):
        prepare_data(config("sft", train, eval_dataset_path=held), "sft", build_tokenizer())
