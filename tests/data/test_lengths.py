# SPDX-License-Identifier: Apache-2.0
"""Length limits: what is over them is refused with the value that fits, left out, or cut where TRL cuts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tadrib.training.data.group import Completion, Group
from tadrib.training.data.lengths import Limits, fit
from tadrib.training.data.prepare import PreparedData, prepare_data
from tadrib.training.errors import DataError
from tests.data.builders import assistant, build_tokenizer, config, row, user, write_jsonl

TOKENIZER = build_tokenizer()
LONG = "القاهرة " * 40


def tokens(text: str) -> int:
    return len(TOKENIZER(text)["input_ids"])


def prepare(tmp_path: Path, method: str, items: list[dict], **fields: object) -> PreparedData:
    name = write_jsonl(tmp_path / "rows.jsonl", items)
    return prepare_data(config(method, name, instruction_template="plain", **fields), method, TOKENIZER)


def group(prompt: int, *completions: int) -> Group:
    """A group with prompt ids 0, 1, 2 ... and completion ids 100, 101 ..."""
    made = [Completion(list(range(100, 100 + n)), "chosen") for n in completions]
    return Group(list(range(prompt)), made, row=0)


def test_an_over_long_row_is_refused_with_the_value_that_would_fit(tmp_path: Path) -> None:
    items = [row("sft"), row("sft", response=LONG), row("sft", response=LONG[:-16]), row("sft")]
    needed = tokens(row("sft")["instruction"]) + tokens(LONG) + 1
    message = (
        rf"max_seq_length: 2 of 4 rows are longer than max_seq_length=32 tokens; the longest has {needed} "
        rf"\(.*rows.jsonl:2\). Set max_seq_length: {needed} to fit them all, truncation: truncate to cut "
        "them, or truncation: drop to leave them out"
    )
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, "sft", items, max_seq_length=32)
    assert len(prepare(tmp_path, "sft", items, max_seq_length=needed).train) == 4


def test_prompt_and_total_limits_are_both_reported(tmp_path: Path) -> None:
    items = [row("dpo", prompt=LONG), row("dpo", chosen=LONG)]
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, "dpo", items, max_prompt_length=16, max_length=32)
    assert [problem.where for problem in caught.value.problems] == ["max_length", "max_prompt_length"]
    assert "1 of 2 rows are longer than max_prompt_length=16" in str(caught.value)


def test_drop_leaves_rows_out_and_counts_them(tmp_path: Path) -> None:
    items = [row("sft"), row("sft", response=LONG)]
    data = prepare(tmp_path, "sft", items, max_seq_length=32, truncation="drop")
    assert [data.train[i].row for i in range(len(data.train))] == [0]
    assert (data.report.over_long, data.report.cut, data.report.dropped) == (1, 0, 1)
    assert data.report.truncation_rate == 0.5


def test_truncate_cuts_the_end_of_a_response_and_drops_rows_without_one(tmp_path: Path) -> None:
    items = [row("sft"), row("sft", response=LONG), row("sft", instruction=LONG)]
    data = prepare(tmp_path, "sft", items, max_seq_length=32, truncation="truncate")
    cut = data.train[1]
    assert len(cut.prompt) + len(cut.completions[0].tokens) == 32
    assert cut.completions[0].tokens == TOKENIZER(LONG)["input_ids"][: 32 - len(cut.prompt)]
    assert (data.report.over_long, data.report.cut, data.report.dropped) == (2, 1, 1)


def test_truncate_keeps_the_end_of_a_prompt_and_the_start_of_completions(tmp_path: Path) -> None:
    items = [row("dpo", prompt=LONG, chosen=LONG, rejected="عمان")]
    data = prepare(tmp_path, "dpo", items, max_prompt_length=16, max_length=40, truncation="truncate")
    cut = data.train[0]
    whole = TOKENIZER(LONG)["input_ids"]
    assert cut.prompt == whole[-16:]
    assert cut.completions[0].tokens == whole[:24]
    assert cut.completions[1].tokens == [*TOKENIZER("عمان")["input_ids"], TOKENIZER.eos_token_id]


def test_answers_that_differ_only_beyond_the_limit_are_left_out_and_counted(tmp_path: Path) -> None:
    items = [row("dpo"), row("dpo", chosen=LONG + "نعم", rejected=LONG + "لا")]
    data = prepare(tmp_path, "dpo", items, max_length=40, max_prompt_length=16, truncation="truncate")
    assert [group.row for group in data.train] == [0]
    assert (data.report.cut, data.report.dropped) == (0, 1)


def test_a_bos_token_outlives_the_cut_of_its_prompt() -> None:
    limits = Limits(total=20, total_key="max_length", prompt=4)
    assert limits.cut(group(10, 3), bos=0) == Group(
        [0, 7, 8, 9], [Completion([100, 101, 102], "chosen")], row=0
    )
    assert limits.cut(group(10, 3), bos=None) == Group(
        [6, 7, 8, 9], [Completion([100, 101, 102], "chosen")], row=0
    )


@pytest.mark.parametrize(
    ("made", "cut", "dropped"),
    [(group(4, 6), 0, 0), (group(4, 7), 1, 0), (group(5, 1), 1, 0), (group(4, 1, 9), 1, 0)],
)
def test_a_limit_itself_is_not_over_it(made: Group, cut: int, dropped: int) -> None:
    found = fit(made, Limits(total=10, total_key="max_length", prompt=4), "truncate", bos=None)
    assert (found is not None and found != made, found is None) == (cut, dropped)


def test_a_conversation_cut_before_its_second_answer_keeps_its_mask(tmp_path: Path) -> None:
    items = [{"messages": [user("q"), assistant("a"), user(LONG), assistant("b")]}]
    name = write_jsonl(tmp_path / "rows.jsonl", items)
    settings = config("sft", name, instruction_template="chatml", max_seq_length=40, truncation="truncate")
    (completion,) = prepare_data(settings, "sft", TOKENIZER).train[0].completions
    assert completion.trained is not None
    assert len(completion.trained) == len(completion.tokens)
    learnt = [t for t, on in zip(completion.tokens, completion.trained, strict=True) if on]
    assert TOKENIZER.decode(learnt) == "a<|im_end|>"


def test_a_policy_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="truncation: drop leaves no rows: all exceed max_seq_length"):
        prepare(tmp_path, "sft", [row("sft", response=LONG)], max_seq_length=16, truncation="drop")


MANY = row("cpo", rejected=["عمان", "بيروت", "الرياض", "دمشق"])


def test_a_group_over_the_token_budget_is_refused_with_all_its_answers_counted(tmp_path: Path) -> None:
    sizes = [group.num_tokens for group in prepare(tmp_path, "cpo", [row("cpo"), MANY]).train]
    message = (
        rf"max_tokens_per_batch: 1 of 2 rows are longer than max_tokens_per_batch={sizes[0]} tokens, including all "
        rf"answers; the longest has {sizes[1]} \(.*rows.jsonl:2\). Set max_tokens_per_batch: {sizes[1]} to fit them "
        "all, or truncation: drop to leave them out"
    )
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, "cpo", [row("cpo"), MANY], max_tokens_per_batch=sizes[0])


@pytest.mark.parametrize("policy", ["drop", "truncate"])
def test_a_group_over_the_token_budget_is_left_out_and_counted(tmp_path: Path, policy: str) -> None:
    sizes = [group.num_tokens for group in prepare(tmp_path, "cpo", [row("cpo"), MANY]).train]
    data = prepare(tmp_path, "cpo", [row("cpo"), MANY], max_tokens_per_batch=sizes[1] - 1, truncation=policy)
    assert [group.row for group in data.train] == [0]
    assert (data.report.cut, data.report.dropped) == (0, 1)


def test_a_kto_row_leaves_its_baseline_the_room_that_the_budget_has(tmp_path: Path) -> None:
    items = [row("kto", prompt="عمان", label=True), row("kto", completion=LONG, label=False)]
    longest = max(
        group.prompt + group.completions[0].tokens for group in prepare(tmp_path, "kto", items).train
    )
    budget = len(longest) + 1
    groups = list(prepare(tmp_path, "kto", items, max_tokens_per_batch=budget).train)
    assert max(group.num_tokens for group in groups) == budget
    assert all(group.completions[1].tokens for group in groups)
