# SPDX-License-Identifier: Apache-2.0
"""Preference data that would teach the wrong thing: refused alike by `tadrib data check` and before training, with
the row and the way out, or taken with a count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tadrib.ray_jobs.cli.app import app
from tadrib.training.data.prepare import prepare_data
from tadrib.training.errors import DataError
from tadrib.training.model.tokenizer import load_tokenizer
from tests.data.builders import config, row, rows, write_jsonl
from tests.tiny import tiny_model

GOOD_ROWS = 2
# sentence: (method, the row in line 3, what is said of it, what to do)
REFUSED = {
    "an empty completion of KTO": (
        "kto",
        row("kto", completion=""),
        "rows.jsonl:3: completion: is empty.",
        "Write the text or remove the row.",
    ),
    "a completion of nothing but white space": (
        "kto",
        row("kto", completion=" \n"),
        "rows.jsonl:3: completion: is only white space (' \\n').",
        "Write the text or remove the row.",
    ),
    "an empty chosen answer": (
        "dpo",
        row("dpo", chosen=""),
        "rows.jsonl:3: chosen: is empty.",
        "Write the text or remove the row.",
    ),
    "an empty answer among several rejected ones": (
        "simpo",
        row("simpo", rejected=["عمان", ""]),
        "rows.jsonl:3: rejected[1]: is empty.",
        "Write the text or remove the row.",
    ),
    "an answer that is equal to the chosen one": (
        "dpo",
        row("dpo", rejected="القاهرة"),
        "rows.jsonl:3: rejected: is equal to the chosen answer, so there is nothing to prefer.",
        "Replace or remove it.",
    ),
    "an answer that is equal but for white space, among several": (
        "ipo",
        row("ipo", rejected=["عمان", "القاهرة "]),
        "rows.jsonl:3: rejected[1]: is equal to the chosen answer, so there is nothing to prefer.",
        "Replace or remove it.",
    ),
    "a hard negative that is equal to the chosen answer": (
        "cpo",
        row("cpo", hard_negatives=["القاهرة"]),
        "rows.jsonl:3: hard_negatives[0]: is equal to the chosen answer, so there is nothing to prefer.",
        "Replace or remove it.",
    ),
    "an empty list of rejected answers": (
        "cpo",
        row("cpo", rejected=[]),
        "rows.jsonl:3: rejected: has no answer; expected at least one to compare the chosen one with.",
        "Add a rejected answer or remove the row.",
    ),
    "an empty list of rejected answers beside hard negatives": (
        "cpo",
        row("cpo", rejected=[], hard_negatives=["عمان"]),
        "rows.jsonl:3: rejected: has no answer; expected at least one to compare the chosen one with.",
        "Add a rejected answer or remove the row.",
    ),
    "rejected that is null": (
        "dpo",
        row("dpo", rejected=None),
        "rows.jsonl:3: rejected: has no value (null or NaN).",
        "Fill it in or remove the row.",
    ),
    "the label 'true' as a string": (
        "kto",
        row("kto", label="true"),
        "rows.jsonl:3: label: expected true (desirable) or false (undesirable), found 'true' (str).",
        "Write true or false, without quotes.",
    ),
    "the label 'yes'": (
        "kto",
        row("kto", label="yes"),
        "rows.jsonl:3: label: expected true (desirable) or false (undesirable), found 'yes' (str).",
        "Write true or false, without quotes.",
    ),
}


def check(path: str, method: str, *options: str) -> tuple[int, str]:
    """Exit code and printed text of `tadrib data check`, on one line."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["data", "check", path, "--method", method, *options]
    )
    return done.exit_code, " ".join(done.output.split())


def prepare(path: str, method: str, **settings):
    made = config(method, path, **settings).replace(model_name=tiny_model())
    return prepare_data(made, method, load_tokenizer(made))


@pytest.mark.parametrize("sentence", REFUSED)
def test_is_refused_with_its_line_and_the_way_out(tmp_path: Path, sentence: str) -> None:
    method, bad, message, action = REFUSED[sentence]
    path = write_jsonl(tmp_path / "rows.jsonl", [*rows(method, GOOD_ROWS), bad])
    code, printed = check(path, method)
    assert code == 2
    assert f"{message} {action}" in printed
    assert "1 of 3 rows is bad, and max_bad_rows is 0." in printed
    with pytest.raises(DataError) as refused:
        prepare(path, method)
    assert f"{message} {action}" in str(refused.value)


@pytest.mark.parametrize("sentence", REFUSED)
def test_is_left_out_and_counted_when_bad_rows_are_accepted(tmp_path: Path, sentence: str) -> None:
    method, bad, _, _ = REFUSED[sentence]
    path = write_jsonl(tmp_path / "rows.jsonl", [*rows(method, GOOD_ROWS), bad])
    data = prepare(path, method, max_bad_rows=1)
    assert len(data.train) == GOOD_ROWS
    assert (data.report.bad_rows, data.report.usable_rows) == (1, GOOD_ROWS)
    assert data.report.problems[0].places == [3]


@pytest.mark.parametrize(("label", "action"), [(True, "or train on these with method: sft."), (False, "")])
def test_kto_data_of_one_label_are_refused_with_their_number(
    tmp_path: Path, label: bool, action: str
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [item | {"label": label} for item in rows("kto", 5)])
    kind = "desirable (label: true)" if label else "undesirable (label: false)"
    message = f"all 5 rows are {kind}; KTO needs rows of both kinds. Add rows of the other kind"
    code, printed = check(path, "kto")
    assert code == 2
    assert message in printed
    assert action in printed
    with pytest.raises(DataError) as refused:
        prepare(path, "kto")
    assert message in str(refused.value)


def test_a_prompt_that_is_no_token_prefix_is_taken_counted_and_named(tmp_path: Path) -> None:
    """The policy: prompt and answer are tokenized apart, as at inference, and such rows are stated."""
    merging = row("dpo", prompt="ما عاصمة مصر؟ عاص", chosen="مة مصر هي القاهرة.", rejected="عمان")
    path = write_jsonl(tmp_path / "rows.jsonl", [row("dpo"), merging])
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"method: dpo\nname: merges\ndataset_path: {path}\nmodel_name: {tiny_model()}\ninstruction_template: plain\n"
    )
    code, printed = check(path, "dpo", "--spec", str(spec))
    assert code == 0
    assert "boundary merges │ 1 rows" in printed
    assert f"1 rows (first: {path}:2): as one text, prompt and answer would merge tokens" in printed
    assert "End prompts with a line break" in printed
    code, as_json = check(path, "dpo", "--spec", str(spec), "--json")
    assert json.loads(as_json)["boundary_merges"] == 1

    data = prepare(path, "dpo")
    assert data.report.boundary_merges == 1
    tokenizer = load_tokenizer(config("dpo", path).replace(model_name=tiny_model()))
    assert data.train[1].prompt == tokenizer(merging["prompt"])["input_ids"]
