# SPDX-License-Identifier: Apache-2.0
"""Bad rows: each kind is refused with its place and the way out, or let go, written and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tadrib.training.data.prepare import prepare_data
from tadrib.training.data.readers.lines import MAX_LINE_BYTES
from tadrib.training.errors import DataError
from tests.data.builders import assistant, build_tokenizer, config, row, rows, user, write_jsonl

MESSAGE_FORM = r'A message is \{"role": "user", "content": "..."\}'

BAD_ROWS: dict[str, tuple[str, Any, str]] = {
    "broken JSON": (
        "sft",
        '{"instruction": "a", ',
        r":3: is not valid JSON: Expecting property name .* at column 22",
    ),
    "not an object": ("sft", '["a", "b"]', r":3: expected an object with named columns, found \['a', 'b'\]"),
    "nested too deeply": ("sft", "[" * 100_000, ":3: is not valid JSON: it is nested too deeply"),
    "repeated key": (
        "sft",
        '{"instruction": "a", "response": "b", "response": "c"}',
        ":3: response: the key 'response' occurs twice in the row. Keep one of them.",
    ),
    "NaN": (
        "sft",
        '{"instruction": "a", "response": NaN}',
        r":3: response: has no value \(null or NaN\). Fill it in or remove the row.",
    ),
    "not UTF-8": (
        "sft",
        b'{"instruction": "caf\xe9"}',
        r":3: byte 0xe9 at byte \d+ of the file \(byte 20 of the line\)",
    ),
    "a 10 MB line": (
        "sft",
        json.dumps(row("sft", response="x" * 10_000_000)),
        r":3: the line has 10,000,\d+ bytes, but a row may have at most 8,388,608. Check for a missing line",
    ),
    "half a surrogate pair": (
        "sft",
        '{"instruction": "a", "response": "b\\ud800"}',
        r":3: response: has a lone surrogate, '\\ud800', at character 1",
    ),
    "a column by another name": (
        "sft",
        {"instruction": "a", "answer": "b"},
        ":3: response: the column is missing; found instruction, answer. Rename the column 'answer' to 'response', "
        "or name it in the spec:\n *columns:\n *response: answer",
    ),
    "a misspelt column": (
        "dpo",
        {"prompt": "a", "choosen": "b", "rejected": "c"},
        ":3: chosen: the column is missing; found prompt, choosen, rejected. Rename the column 'choosen'",
    ),
    "a misspelt optional column": (
        "cpo",
        row("cpo", hard_negative=["c"]),
        ":3: hard_negative: is not a column of this method, but very similar to 'hard_negatives'. Rename it",
    ),
    "no columns": (
        "dpo",
        {},
        ":3: prompt: the column is missing; the row has no columns. Add the column 'prompt'.",
    ),
    "empty response": (
        "sft",
        row("sft", response=""),
        ":3: response: is empty. Write the text or remove the row.",
    ),
    "blank response": ("sft", row("sft", response=" \n"), r":3: response: is only white space \(' \\n'\)"),
    "empty instruction": ("sft", row("sft", instruction=""), ":3: instruction: is empty."),
    "empty completion": ("kto", row("kto", completion=""), ":3: completion: is empty."),
    "text that is a number": ("sft", row("sft", response=7), r":3: response: expected text, found 7 \(int\)"),
    "chosen equal to rejected": (
        "dpo",
        row("dpo", rejected=row("dpo")["chosen"] + " "),
        ":3: rejected: is equal to the chosen answer, so there is nothing to prefer. Replace or remove it.",
    ),
    "one of several rejected equal": (
        "cpo",
        row("cpo", rejected=["عمان", row("cpo")["chosen"]]),
        r":3: rejected\[1\]: is equal to the chosen answer",
    ),
    "a hard negative equal": (
        "cpo",
        row("cpo", hard_negatives=[row("cpo")["chosen"]]),
        r":3: hard_negatives\[0\]: is equal to the chosen answer",
    ),
    "zero negatives": (
        "cpo",
        row("cpo", rejected=[]),
        ":3: rejected: has no answer; expected at least one to compare the chosen one with.",
    ),
    "an empty rejected among several": (
        "dpo",
        row("dpo", rejected=["b", ""]),
        r":3: rejected\[1\]: is empty.",
    ),
    "a label that is a string": (
        "kto",
        row("kto", label="true"),
        r":3: label: expected true \(desirable\) or false \(undesirable\), found 'true' \(str\). "
        "Write true or false, without quotes.",
    ),
    "a label that is a number": ("kto", row("kto", label=1), r":3: label: expected true .* found 1 \(int\)"),
    "a length that is none": (
        "ipo",
        row("ipo", chosen_length=0, rejected_length=4),
        ":3: chosen_length: expected a whole number from 1 to 1,000,000,000, found 0.",
    ),
    "a length without the other": (
        "ipo",
        row("ipo", chosen_length=3),
        ":3: chosen_length, rejected_length: expected one length for each answer, 1 and 1; found 1 and 0.",
    ),
    "messages that are text": (
        "sft",
        {"messages": "hello"},
        rf":3: messages: expected a list .*'hello'.*{MESSAGE_FORM}",
    ),
    "no messages": ("sft", {"messages": []}, ":3: messages: has no messages."),
    "a message that is text": (
        "sft",
        {"messages": ["hello"]},
        r":3: messages\[0\]: expected a message, found 'hello'",
    ),
    "ShareGPT messages without an answer": (
        "sft",
        {"messages": [{"from": "human", "value": "q"}]},
        ":3: messages: has no assistant message, so there is nothing to train on.",
    ),
    "an unknown role": (
        "sft",
        {"messages": [{"role": "asistant", "content": "q"}]},
        r":3: messages\[0\].role: expected one of system, .*; found 'asistant'. Did you mean assistant\?",
    ),
    "an empty answer in a conversation": (
        "sft",
        {"messages": [user("q"), assistant("")]},
        r":3: messages\[1\].content: is empty.",
    ),
    "content with a part that is no text": (
        "sft",
        {"messages": [user("q"), {"role": "assistant", "content": [{"type": "image_url", "image_url": {}}]}]},
        r":3: messages\[1\].content\[0\]: expected a part of type 'text', found a part of type 'image_url'",
    ),
    "a repeated key in a message": (
        "sft",
        '{"messages": [{"role": "user", "content": "a", "content": "b"}]}',
        r":3: messages\[0\]: has the key 'content' twice",
    ),
    "no assistant": (
        "sft",
        {"messages": [user("q")]},
        ":3: messages: has no assistant message, so there is nothing",
    ),
    "the assistant first": (
        "sft",
        {"messages": [assistant("a"), user("q"), assistant("b")]},
        ":3: messages: begins with an assistant message; expected a user or system message first.",
    ),
    "the user last": (
        "sft",
        {"messages": [user("q"), assistant("a"), user("q")]},
        ":3: messages: ends with a user message; expected an assistant message.",
    ),
    "answers to different prompts": (
        "dpo",
        {"chosen": [user("q"), assistant("a")], "rejected": [user("r"), assistant("b")]},
        ":3: prompt: the answers are full conversations that do not begin with the same message.",
    ),
    "answers that repeat another prompt": (
        "dpo",
        {"prompt": "z", "chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
        ":3: prompt: is not the last user message that the answers have in common.",
    ),
    "answers that repeat other messages": (
        "dpo",
        {
            "prompt": [user("z")],
            "chosen": [user("q"), assistant("a")],
            "rejected": [user("q"), assistant("b")],
        },
        ":3: prompt: the answers begin with different messages.",
    ),
    "answers without a prompt": (
        "dpo",
        {"chosen": [assistant("a")], "rejected": [assistant("b")]},
        ":3: prompt: the column is missing.",
    ),
    "equal answers that repeat the prompt": (
        "dpo",
        {"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("a")]},
        ":3: rejected: is equal to the chosen answer",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_refused_with_its_line_and_the_way_out(tmp_path: Path, case: str) -> None:
    method, bad, message = BAD_ROWS[case]
    good = rows(method, 4)
    name = write_jsonl(tmp_path / "rows.jsonl", [*good[:2], bad, *good[2:]])
    with pytest.raises(DataError, match=message) as caught:
        prepare_data(config(method, name), method, build_tokenizer(), rejected_dir=tmp_path / "out")
    assert "1 of 5 rows is bad, and max_bad_rows is 0. Fix them, or set max_bad_rows: 1" in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_within_max_bad_rows_is_left_out_written_and_counted(tmp_path: Path, case: str) -> None:
    method, bad, _ = BAD_ROWS[case]
    good = rows(method, 4)
    name = write_jsonl(tmp_path / "rows.jsonl", [*good[:2], bad, *good[2:]])
    settings = config(method, name, max_bad_rows=1)
    data = prepare_data(settings, method, build_tokenizer(), rejected_dir=tmp_path / "out")
    (written,) = (tmp_path / "out" / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    rejected = json.loads(written)
    assert (rejected["line"], len(rejected["reason"]) > 0) == (3, True)
    assert len(written) < 3000
    assert (data.report.rows, data.report.usable_rows, data.report.bad_rows) == (5, 4, 1)
    assert [data.train[i].row for i in range(4)] == [0, 1, 3, 4]


def test_all_kinds_of_problems_come_at_once_with_their_lines(tmp_path: Path) -> None:
    bad = [
        row("dpo", chosen=""),
        "{",
        row("dpo", chosen=" "),
        row("dpo", rejected=...),
        row("dpo", chosen=""),
    ]
    name = write_jsonl(tmp_path / "rows.jsonl", [*rows("dpo", 2), *bad])
    with pytest.raises(DataError) as caught:
        prepare_data(config("dpo", name), "dpo", build_tokenizer())
    first, *lines = str(caught.value).splitlines()
    assert first == f"{name}: 4 problems"
    assert lines[0].startswith(f"  {name}:3: chosen: is empty.")
    assert "(also in lines 5, 7)" in lines[0]
    assert any(f"{name}:4: is not valid JSON" in line for line in lines)
    assert any(f"{name}:6: rejected: the column is missing" in line for line in lines)
    assert "5 of 7 rows are bad, and max_bad_rows is 0." in lines[-1]


def test_no_more_than_twenty_kinds_are_listed_and_the_rest_are_counted(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", [f'{{"key{n}": 1, "key{n}": 2}}' for n in range(25)])
    with pytest.raises(DataError, match="5 further kinds of problems are not shown") as caught:
        prepare_data(config("sft", name), "sft", build_tokenizer())
    assert len(caught.value.problems) == 21


def test_a_csv_row_with_too_many_cells_or_too_long_a_line_is_a_bad_row(tmp_path: Path) -> None:
    long = "x" * (MAX_LINE_BYTES + 10)
    text = f"prompt,chosen,rejected\np1,a,b\np2,a,b,c\np3,{long},b\np4,a,b\n"
    (tmp_path / "rows.csv").write_text(text, encoding="utf-8")
    settings = config("dpo", str(tmp_path / "rows.csv"))
    with pytest.raises(DataError) as caught:
        prepare_data(settings, "dpo", build_tokenizer())
    assert "rows.csv:3: has 4 cells, but the header has 3 columns." in str(caught.value)
    assert "rows.csv:4: the line has 8,388,6" in str(caught.value)
    settings.max_bad_rows = 2
    assert len(prepare_data(settings, "dpo", build_tokenizer()).train) == 2


def test_a_table_names_rows_instead_of_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([row("dpo"), row("dpo", chosen="")]), encoding="utf-8")
    with pytest.raises(DataError, match=r"rows.json: row 2: chosen: is empty."):
        prepare_data(config("dpo", str(tmp_path / "rows.json")), "dpo", build_tokenizer())
