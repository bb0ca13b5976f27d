# SPDX-License-Identifier: Apache-2.0
"""What `tadrib data check` says of the content of rows, and what `tadrib data clean` leaves out."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from transformers import Qwen2Config
from typer.testing import CliRunner

from tadrib.ray_jobs.cli.app import app
from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.quality.cleaning import CleaningReport, clean
from tadrib.training.data.quality.inspection import Quality, inspect
from tadrib.training.data.quality.near_duplicates import SIMILAR, NearDuplicates
from tadrib.training.data.quality.row_texts import RowTexts, folded
from tadrib.training.data.quality.writing import Writing
from tadrib.training.data.report.check import check_data
from tadrib.training.data.rows.dialogue import Answer, Dialogue
from tadrib.training.errors import DataError
from tests.data.builders import build_tokenizer, config, row, rows, write_jsonl

QUESTION = "ما هي عاصمة جمهورية مصر العربية التي تقع على ضفاف نهر النيل العظيم"
LONG = "هذا نص طويل يشرح بالتفصيل تاريخ مدينة القاهرة منذ تأسيسها على يد جوهر الصقلي وحتى عصرنا الحاضر"


def texts(prompt: str, answer: str) -> RowTexts:
    return RowTexts(Dialogue(prompt, (Answer("response", answer),)))


def near(tmp_path: Path, *items: tuple[str, str]) -> list[tuple[int, int]]:
    with (tmp_path / "signatures").open("w+b") as file:
        found = NearDuplicates(file)
        for item in items:
            found.add(texts(*item))
        return list(found.pairs())


def stretches(text: str) -> set[str]:
    padded = text + "\0" * 4
    return {padded[i : i + 5] for i in range(len(text))}


def similarity(one: str, other: str) -> float:
    a, b = stretches(folded(one)), stretches(folded(other))
    return len(a & b) / len(a | b)


def inspected(tmp_path: Path, method: str, items: list, held: str | None = None) -> Quality:
    return inspect(write_jsonl(tmp_path / "rows.jsonl", items), RowReader(method), held)


def cleaned(
    tmp_path: Path, method: str, items: list, *against: str, **options: bool
) -> tuple[list, CleaningReport]:
    name = write_jsonl(tmp_path / "rows.jsonl", items)
    report = clean(name, RowReader(method), tmp_path / "out.jsonl", against, **options)
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()], report


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("أحمدُ إلى المدرسةِ", "احمد الي المدرسه"),
        ("مَدْرَسَةٌ، كبيرة!", "مدرسه كبيره"),
        ("العـــربية", "العربيه"),
        ("Hello,  WORLD\n", "hello world"),
        ("ﷺ ﻻ", "صلي الله عليه وسلم لا"),
        ("؟!", "؟!"),
    ],
)
def test_spelling_is_folded_away(text: str, same: str) -> None:
    assert folded(text) == same


def test_what_differs_in_spelling_alone_is_a_near_duplicate(tmp_path: Path) -> None:
    items = [
        (QUESTION, "القاهرة"),
        ("سؤال آخر تماما عن الجبر", "نعم"),
        (f"{QUESTION.replace('العربية', 'العربيّة')}؟", "القاهره."),
    ]

    assert near(tmp_path, *items) == [(2, 0)]


def test_a_near_duplicate_is_near_in_prompt_and_answers(tmp_path: Path) -> None:
    items = [
        (QUESTION, LONG),
        (QUESTION, "جواب مختلف كل الاختلاف عن سابقه"),
        ("سؤال مختلف كل الاختلاف", LONG),
    ]
    items += [("كم يساوي 5 + 7؟", "12"), ("كم يساوي 5 + 8؟", "13"), (QUESTION, f"{LONG} تقريبا")]

    assert near(tmp_path, *items) == [(5, 0)]


def test_rows_with_other_numbers_are_no_near_duplicates(tmp_path: Path) -> None:
    items = [(f"{QUESTION} {n}؟", f"{LONG} {n}") for n in ("33", "333", "٣٣", "0033", "34")]

    assert near(tmp_path, *items) == [(2, 0), (3, 0)]


def test_similarity_is_estimated_as_it_is(tmp_path: Path) -> None:
    words = [f"كلمة{n}" for n in range(80)]
    base = " ".join(words)
    found = {}
    for step in (80, 40, 6, 4, 2):
        other = " ".join(f"بدل{n}" if n % step == 0 else word for n, word in enumerate(words))
        found[similarity(base, other)] = bool(near(tmp_path, (base, base), (other, other)))

    assert [is_near for real, is_near in found.items() if real > SIMILAR + 0.1] == [True, True]
    assert [is_near for real, is_near in found.items() if real < SIMILAR - 0.1] == [False, False, False]


def test_rows_of_one_prompt_are_compared_in_linear_time_and_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    items = ((QUESTION, f"جواب رقم {n} " * 3) for n in range(3000))

    found = near(tmp_path, *items)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(found) < 3000
    assert peak < 60_000_000


def test_repeated_rows_and_shared_prompts_are_told_with_their_lines(tmp_path: Path) -> None:
    items = rows("dpo", 30)
    held = write_jsonl(
        tmp_path / "held.jsonl", [row("dpo", prompt=f"{items[3]['prompt'].strip()}!"), row("dpo", prompt="x")]
    )
    quality = inspected(tmp_path, "dpo", ["", *items, items[4], items[4]], held)

    told = " ".join(quality.warnings("line"))

    assert (quality.rows, quality.repeated.count, quality.held_prompts) == (32, 2, 1)
    assert "2 of 32 rows repeat an earlier one (line 32 repeats 6, 33 repeats 6)" in told
    assert "1 rows have a prompt that is, but for spelling, in the evaluation data" in told


def test_ways_of_writing_are_counted_and_the_rare_ones_told() -> None:
    writing = Writing()
    plain, marked = "ذهب الولد إلى المدرسة في الصباح", "ذَهَبَ الوَلَدُ إِلَى المَدْرَسَةِ فِي الصَّبَاحِ"
    for text, count in (
        (plain, 600),
        (marked, 30),
        ("إزيك عايز أروح دلوقتي", 100),
        ("شلونك الحين زين", 5),
        ("hello world", 400),
        ("你好", 2),
        ("123", 9),
    ):
        for _ in range(count):
            writing.add(texts(text, text))

    told = list(writing.warnings())

    assert writing.scripts == {"Arabic": 735, "Latin": 400, "other": 2, "none": 9}
    assert (writing.vocalised, writing.dialects) == (30, {"Egyptian": 100, "Gulf": 5})
    assert "30 of 735 Arabic rows are written with vowel marks" in told[0]
    assert "other 2, next to 735 Arabic" in told[1]
    assert len(told) == 2  # 105 rows of dialects are too few to say that one of them is rare


def test_the_check_of_a_dataset_has_all_of_it(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", [*rows("sft", 20), rows("sft", 20)[0]])
    report = check_data(name, "sft", config("sft", name), build_tokenizer(), name)

    assert (report.duplicate_rows, report.shared_prompts, report.scripts) == (1, 21, {"Arabic": 21})
    assert report.largest_id is not None
    assert report.largest_id < len(build_tokenizer())
    assert any("tadrib data clean --against" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("method", "fields", "remedy"),
    [
        ("dpo", {}, "loss_type: ipo"),
        ("dpo", {"loss_type": "ipo"}, ""),
        ("cpo", {}, "loss_type: simpo"),
        ("cpo", {"loss_type": "simpo"}, ""),
        ("ipo", {"length_normalization": "none"}, "length_normalization: tokens"),
        ("ipo", {}, ""),
        ("simpo", {}, ""),
    ],
)
def test_every_method_that_sums_over_tokens_warns_of_answers_told_apart_by_length(
    tmp_path: Path, method: str, fields: dict, remedy: str
) -> None:
    items = [item | {"chosen": "القاهرة " * (3 + n)} for n, item in enumerate(rows(method, 25))]
    name = write_jsonl(tmp_path / "rows.jsonl", items)

    report = check_data(name, method, config(method, name, max_length=2048, **fields), build_tokenizer())

    told = [warning for warning in report.warnings if "the chosen answer is the longer one" in warning]
    assert [remedy in warning for warning in told] == ([True] if remedy else [])


def test_cleaning_keeps_the_first_of_each_and_leaves_rows_as_they_are(tmp_path: Path) -> None:
    first = {"id": 7, "instruction": QUESTION, "response": "القاهرة", "extra": None, "list": [1.5]}
    items = [
        first,
        row("sft"),
        {**first, "id": 8},
        "{",
        {**first, "instruction": f"{QUESTION}؟"},
        row("sft", response=""),
    ]

    kept, report = cleaned(tmp_path, "sft", items)

    assert kept == [first, row("sft")]
    assert report.left_out == {
        "bad": [(4, None), (6, None)],
        "contaminated": [],
        "repeated": [(3, 1)],
        "near": [(5, 1)],
    }
    assert (report.rows, report.kept) == (6, 2)
    told = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert told["left_out"]["near"]["rows"] == [{"line": 5, "repeats": 1}]
    assert (told["kept"], told["left_out"]["bad"]["count"]) == (2, 2)


def test_exact_cleaning_keeps_near_duplicates(tmp_path: Path) -> None:
    items = [
        row("sft", instruction=QUESTION),
        row("sft", instruction=f"{QUESTION}؟"),
        row("sft", instruction=QUESTION),
    ]

    kept, _ = cleaned(tmp_path, "sft", items, near=False)

    assert kept == items[:2]


def test_rows_with_other_labels_or_swapped_answers_are_no_duplicates(tmp_path: Path) -> None:
    judged = [row("kto", prompt=QUESTION, label=label) for label in (True, False)]
    assert len(cleaned(tmp_path, "kto", judged)[0]) == 2
    (tmp_path / "out.jsonl").unlink()
    pairs = [row("dpo", prompt=QUESTION, chosen=LONG, rejected="لا أعرف جواب هذا السؤال الصعب")]
    pairs.append(row("dpo", prompt=QUESTION, chosen="لا أعرف جواب هذا السؤال الصعب", rejected=LONG))
    assert len(cleaned(tmp_path, "dpo", pairs)[0]) == 2


def test_rows_whose_text_stands_in_evaluation_data_are_left_out(tmp_path: Path) -> None:
    exam = tmp_path / "exam.jsonl"
    write_jsonl(
        exam,
        [{"question": "ما عاصمة الأردن؟", "choices": ["عمان", "القاهرة"], "explanation": {"text": LONG}}],
    )
    other = " ".join(LONG.split()[:12])
    items = [
        row("sft", instruction="مَا عاصِمةُ الأردن"),  # the question, spelt in another way
        row("sft", instruction="لخص", response=f"يقول الكاتب: {LONG} ثم يمضي"),  # 13 words and more
        row("sft", instruction="لخص", response=f"يقول الكاتب: {other} ثم يمضي"),  # only 12 of them
        row("sft", instruction="عمان"),  # a choice, but too short to be a question
        row("sft", instruction="ما عاصمة المغرب؟", response="عمان"),
    ]

    kept, report = cleaned(tmp_path, "sft", items, str(exam))

    assert report.left_out["contaminated"] == [(1, None), (2, None)]
    assert kept == items[2:]


def test_cleaning_overwrites_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", [row("sft")])
    for output, message in ((Path(name), "exists"), (tmp_path / "out.csv", "does not end in .jsonl")):
        with pytest.raises(DataError, match=message):
            clean(name, RowReader("sft"), output)
    with pytest.raises(DataError, match="no row of 1 would be left"):
        clean(name, RowReader("sft"), tmp_path / "out.jsonl", [name])

    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_the_commands_print_what_they_did(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", [row("sft"), row("sft"), row("sft", instruction="\x1b[2Jx")])
    run = CliRunner()

    found = run.invoke(app, ["data", "clean", name, str(tmp_path / "out.jsonl"), "--method", "sft"])
    again = run.invoke(app, ["data", "check", str(tmp_path / "out.jsonl"), "--method", "sft"])

    assert (found.exit_code, again.exit_code) == (0, 0), found.output
    assert "2 of 3 rows are in" in found.output.replace("\n", " ")
    assert "2 (as 1)" in found.output
    assert "0 rows, 0 prompts; 0 further rows nearly" in again.output


def test_rows_beyond_the_context_and_the_embedding_of_the_model_are_told(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path / "model")
    Qwen2Config(max_position_embeddings=24, vocab_size=300).save_pretrained(tmp_path / "model")
    name = write_jsonl(tmp_path / "rows.jsonl", [row("sft"), row("sft", instruction=QUESTION * 3)])

    found = CliRunner().invoke(
        app, ["data", "check", name, "--method", "sft", "--model", str(tmp_path / "model"), "--json"]
    )

    context, embedding = json.loads(found.output)["refusals"]
    assert found.exit_code == 2
    assert "and the longest prompt alone" in context
    assert "has a context of 24 (max_position_embeddings" in context
    assert context.startswith("max_seq_length: 512; the longest row has ")
    assert "has embeddings for 300 tokens (vocab_size in its config.json)" in embedding


def test_a_spec_without_a_file_names_the_data_to_look_at(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path / "model")
    one = write_jsonl(tmp_path / "one.jsonl", rows("kto", 40)[::2])
    two = write_jsonl(tmp_path / "two.jsonl", rows("kto", 40)[1::2])
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"method: kto\nname: run\nmodel_name: {tmp_path / 'model'}\ndatasets:\n- path: {one}\n- path: {two}\n",
        encoding="utf-8",
    )
    run = CliRunner()

    checked = run.invoke(app, ["data", "check", "--spec", str(spec), "--json"])
    shown = run.invoke(app, ["data", "show", "--spec", str(spec), "--first", "1", "--json"])
    nothing = run.invoke(app, ["data", "check", "--method", "kto"])

    report = json.loads(checked.output)
    assert (checked.exit_code, report["ok"], report["rows"]) == (
        0,
        True,
        40,
    )  # each label comes from one of them
    assert [source["name"] for source in report["sources"]] == ["one", "two"]
    assert [json.loads(line)["place"] for line in shown.output.splitlines()] == [f"{one}:1", f"{two}:1"]
    assert "FILE: is missing, and there is no --spec that names one" in str(nothing.exception)
