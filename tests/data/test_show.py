# SPDX-License-Identifier: Apache-2.0
"""`tadrib data show`: rows as the model sees them, readable and harmless in a terminal."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tadrib.ray_jobs.cli.app import app
from tadrib.training.data.encoding import Encoder
from tadrib.training.data.look.seen_row import SeenRow, seen_rows
from tadrib.training.data.look.token_texts import token_texts
from tadrib.training.data.look.visible import visible, visible_lines
from tadrib.training.data.rows.models import parse_row
from tadrib.training.errors import DataError
from tests.data.builders import (
    CHATML,
    assistant,
    build_sentencepiece,
    build_tokenizer,
    config,
    row,
    rows,
    user,
    write_jsonl,
)

HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202eevil\u2066 \x9b31m \u200f\r"


def seen(tmp_path: Path, method: str, items: list, *numbers: int, **fields: object) -> list[SeenRow]:
    name = write_jsonl(tmp_path / "rows.jsonl", items)
    return list(seen_rows(name, method, config(method, name, **fields), build_tokenizer(), numbers, first=3))


def shown(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["data", "show", *arguments], env={"COLUMNS": "100"})
    assert found.exception is None, found.output
    return found.output


@pytest.mark.parametrize("method", ["sft", "dpo", "ipo", "cpo", "simpo", "kto"])
def test_a_row_is_shown_with_the_ids_that_are_trained_on(tmp_path: Path, method: str) -> None:
    [found] = seen(tmp_path, method, [row(method)])

    group = Encoder(build_tokenizer(), config(method), method).encode(parse_row(method, row(method)))
    prompt, *answers = ([id_ for token in part.tokens for id_ in token.ids] for part in found.parts)
    assert prompt == group.prompt
    assert answers == [completion.tokens for completion in group.completions]
    assert [part.trained for part in found.parts] == [False, *(True for _ in answers)]
    assert found.lengths["total"] == len(prompt) + max(map(len, answers))
    assert "القاهرة<|endoftext|>" in found.parts[1].text


def test_turns_that_are_not_trained_on_are_parts_of_their_own(tmp_path: Path) -> None:
    talk = [user("a"), assistant("b"), user("c"), assistant("d"), user("e"), {**assistant("f"), "weight": 0}]
    [found] = seen(tmp_path, "sft", [{"messages": talk}], instruction_template="chatml")

    assert [(part.trained, part.text) for part in found.parts] == [
        (False, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"),
        (True, "b<|im_end|>"),
        (False, "\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"),
        (True, "d<|im_end|>"),
    ]


def test_a_row_over_a_limit_is_shown_as_it_is_trained_on(tmp_path: Path) -> None:
    items = [row("sft", response="القاهرة " * 50)]
    fields = {"instruction_template": "plain", "max_seq_length": 20}

    [cut] = seen(tmp_path, "sft", items, truncation="truncate", **fields)
    [refused] = seen(tmp_path, "sft", items, **fields)

    assert cut.lengths["total"] == 20
    assert "over max_seq_length" in cut.notes[0]
    assert "it is cut" in cut.notes[0]
    assert refused.lengths["total"] > 20
    assert "training refuses it (truncation: error)" in refused.notes[0]


@pytest.mark.parametrize("prepend", ["normalizer", "always", "first", "never"])
def test_the_texts_of_tokens_make_up_the_text(prepend: str) -> None:
    text = "عاصمة مصر؟ naïve 👋🏽 café  two spaces\nline"
    for tokenizer in (build_tokenizer(), build_sentencepiece(prepend, CHATML)):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]

        found = token_texts(tokenizer, ids)

        assert [id_ for token in found for id_ in token.ids] == ids
        assert "".join(token.text for token in found).lstrip() == tokenizer.decode(ids).lstrip()
        assert not any("\N{REPLACEMENT CHARACTER}" in token.text for token in found)


def test_bytes_that_are_no_character_end_after_a_few_tokens() -> None:
    tokenizer = build_tokenizer()
    [broken] = tokenizer("é", add_special_tokens=False)["input_ids"][:1]

    assert sum(len(token.ids) for token in token_texts(tokenizer, [broken] * 100)) == 100


def test_only_the_rows_asked_for_are_shown_by_the_numbers_that_messages_use(tmp_path: Path) -> None:
    items = ["", *rows("sft", 5)]

    assert [r.place.rpartition(":")[2] for r in seen(tmp_path, "sft", items)] == ["2", "3", "4"]
    assert [r.place.rpartition(":")[2] for r in seen(tmp_path, "sft", items, 6, 3)] == ["3", "6"]
    with pytest.raises(DataError, match=r"has no row at line 1, 9; the last one is at line 6"):
        seen(tmp_path, "sft", items, 1, 9, 4)


def test_a_bad_row_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    bad, good = seen(tmp_path, "dpo", [row("dpo", chosen=""), row("dpo")])

    assert (bad.parts, len(bad.problems)) == ([], 1)
    assert bad.problems[0].startswith("chosen: is empty.")
    assert good.problems == []


@pytest.mark.parametrize("by_model", [True, False])
@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_in_a_hostile_row_reaches_the_terminal(tmp_path: Path, by_model: bool, as_json: bool) -> None:
    build_tokenizer().save_pretrained(tmp_path / "model")
    name = write_jsonl(
        tmp_path / "rows.jsonl",
        [
            row("sft", instruction=HOSTILE),
            {f"{HOSTILE}x": 1, "instruction": "a"},
            f'{{"instruction": "{HOSTILE}',
            f'{{"{HOSTILE}": 1, "{HOSTILE}": 1}}'.encode(),
        ],
    )
    model = ["--model", str(tmp_path / "model")] if by_model else []

    text = shown(name, "--method", "sft", "--first", "9", *model, *(["--json"] if as_json else []))

    raw = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}
    assert raw <= {"\n", "\u2068", "\u2069"}
    assert "\\u202e" in text
    if not as_json:
        assert "\\x1b[2J" in text


def test_what_is_trained_on_is_marked_without_colour(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path / "model")
    name = write_jsonl(tmp_path / "rows.jsonl", [row("dpo")])

    lines = shown(name, "--method", "dpo", "--model", str(tmp_path / "model")).splitlines()

    assert "    | \u2068ما عاصمة مصر؟\u2069" in lines
    assert "    + \u2068القاهرة<|im_end|>\u2069" in lines
    assert any(line.startswith("  prompt, ") and line.endswith("not trained on") for line in lines)
    assert f"{name}:1   template tokenizer   tokens: prompt " in "\n".join(lines)


def test_json_has_the_same_parts(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", [row("kto")])

    [record] = map(json.loads, shown(name, "--method", "kto", "--json").splitlines())

    assert (record["label"], record["unit"], record["lengths"]["prompt"]) == (True, "characters", 14)
    assert [part["text"] for part in record["parts"]] == ["ما عاصمة مصر؟\n", "القاهرة"]


def test_lines_run_in_their_own_direction_also_where_they_are_cut() -> None:
    lines = visible_lines("نص طويل " * 20 + "\nleft\n", width=40)

    assert all(
        line.startswith("\u2068") and line.endswith("\u2069") and len(line) <= 42 for line in lines[:-2]
    )
    assert lines[-2:] == ["left", ""]


def test_joiners_that_spell_words_stay() -> None:
    assert visible("می\u200cخواهم\u200b\n") == "می\u200cخواهم\\u200b⏎"
