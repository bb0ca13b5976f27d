# SPDX-License-Identifier: Apache-2.0
"""Tables as spreadsheets write them: CSV in any delimiter and encoding, Excel workbooks, and sets of files."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

from tadrib.training.config.dataset.layout import Layout
from tadrib.training.data.fingerprint import fingerprint
from tadrib.training.data.readers.sources import open_source
from tadrib.training.data.report.check import check_data
from tadrib.training.errors import DataError
from tests.data.builders import assistant, config, row, rows, user, write_jsonl

ROWS = [{"السؤال": f"ما عاصمة البلد {n}؟", "الجواب": f"العاصمة؛ رقم {n}, وهي كبيرة; جدا"} for n in range(5)]
COLUMNS = {"instruction": "السؤال", "response": "الجواب"}


def text_of(items: Sequence[dict[str, Any]], delimiter: str = ",") -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(items[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(items)
    return file.getvalue()


def values(path: Path | str, columns: dict[str, str] | None = None) -> list[dict[str, Any] | None]:
    return [raw.value for raw in open_source(str(path), columns).rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1256"])
def test_a_csv_file_is_read_in_its_delimiter_and_encoding(
    tmp_path: Path, delimiter: str, encoding: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text_of(ROWS, delimiter).encode(encoding))
    assert values(path) == ROWS


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_packed_csv_file_is_read_alike(tmp_path: Path, suffix: str) -> None:
    content = text_of(ROWS * 400, ";").encode("cp1256")
    pack = gzip.compress if suffix == "gz" else lambda data: pa.compress(data, codec="zstd", asbytes=True)
    (tmp_path / f"rows.csv.{suffix}").write_bytes(pack(content))
    assert values(tmp_path / f"rows.csv.{suffix}") == ROWS * 400


def test_excel_says_its_delimiter_in_a_first_line(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("sep=|\na,b|c\n1|2\n", encoding="utf-8")
    assert values(tmp_path / "rows.csv") == [{"a,b": "1", "c": "2"}]


def test_the_header_decides_by_the_columns_it_names(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt;chosen;rejected,or not\na,b;c;d\n", encoding="utf-8")
    assert values(tmp_path / "rows.csv") == [{"prompt": "a,b", "chosen": "c", "rejected,or not": "d"}]
    (tmp_path / "rows.csv").write_text("a,b;c,d\n1,2;3,4\n", encoding="utf-8")
    assert values(tmp_path / "rows.csv", {"prompt": "a"}) == [{"a": "1", "b;c": "2;3", "d": "4"}]


def test_what_is_uncertain_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("q,x;y\na,b;c\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.csv:1: has commas or semicolons between its columns"):
        values(tmp_path / "rows.csv")
    (tmp_path / "french.csv").write_bytes("prompt,chosen\né été,à côté où\n".encode("cp1252"))
    (french,) = (raw.problem for raw in open_source(str(tmp_path / "french.csv")).rows)
    assert french is not None
    assert french.kind == "not_utf8"
    (tmp_path / "iso.csv").write_bytes(text_of(ROWS).encode("iso-8859-6", "replace"))
    with pytest.raises(DataError, match=r"iso.csv:1: byte 0xc7 at byte 0 of the file .* is not UTF-8"):
        values(tmp_path / "iso.csv")


def test_a_file_that_does_not_go_on_in_its_encoding_is_refused(tmp_path: Path) -> None:
    broken = text_of(ROWS * 1000).encode("utf-16") + b"\x00\xd8" * 3
    (tmp_path / "rows.csv").write_bytes(broken)
    with pytest.raises(DataError, match="cannot be read: it begins as utf-16, but does not go on so"):
        values(tmp_path / "rows.csv")


def test_cells_are_read_by_what_their_column_is_mapped_to(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "س"}, {"from": "gpt", "value": "ج"}]
    item = {"حوار": json.dumps(turns, ensure_ascii=False), "tools": "[]"}
    (tmp_path / "rows.csv").write_text(text_of([item]), encoding="utf-8")
    assert values(tmp_path / "rows.csv", {"conversations": "حوار"}) == [{"حوار": turns, "tools": "[]"}]
    ranking = {"chosen": json.dumps(turns[1]), "rejected": json.dumps(turns[1]), "kto_tag": "TRUE"}
    (tmp_path / "rows.csv").write_text(text_of([ranking]), encoding="utf-8")
    assert values(tmp_path / "rows.csv") == [{"chosen": turns[1], "rejected": turns[1], "kto_tag": True}]


def write_xlsx(path: Path, **sheets: Sequence[Sequence[Any]]) -> str:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, lines in sheets.items():
        sheet = book.create_sheet(title)
        for line in lines:
            sheet.append(list(line))
    book.save(path)
    return str(path)


HEADER = ("instruction", "response", "note")


def test_a_workbook_is_read_as_a_csv_file_is(tmp_path: Path) -> None:
    lines = [HEADER, ("ما ناتج 2+3؟", 5, None), (None, None), ("صح أم خطأ", "صح", "x")]
    source = open_source(write_xlsx(tmp_path / "rows.xlsx", rows=lines, empty=[]))
    assert [(raw.number, raw.value) for raw in source.rows] == [
        (2, {"instruction": "ما ناتج 2+3؟", "response": "5", "note": None}),
        (4, {"instruction": "صح أم خطأ", "response": "صح", "note": "x"}),
    ]
    assert (source.blank_lines, source.where(4)) == (1, f"{tmp_path}/rows.xlsx: row 4")
    path = write_xlsx(tmp_path / "arabic.xlsx", rows=[tuple(ROWS[0]), *(tuple(r.values()) for r in ROWS)])
    report = check_data(path, "sft", config("sft", path, columns=COLUMNS), None)
    assert (report.refusals, report.usable_rows) == ([], 5)


def test_one_of_several_sheets_has_to_be_named(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "rows.xlsx", train=[HEADER, "ab"], test=[HEADER, "cd"])
    with pytest.raises(
        DataError, match=r"has 2 sheets with rows: train, test. Name one: .*rows.xlsx:train\."
    ):
        values(path)
    assert values(f"{path}:test") == [{"instruction": "c", "response": "d", "note": None}]
    with pytest.raises(
        DataError, match=r"has no sheet 'tests'; it has train, test. Write .*rows.xlsx:test\."
    ):
        values(f"{path}:tests")


def test_a_formula_a_date_and_a_cell_too_many_are_bad_rows(tmp_path: Path) -> None:
    import datetime

    day = datetime.datetime(2026, 1, 2)
    lines = [HEADER, ("a", "=1+1"), ("a", day), ("a", "b", "c", "d"), ("a", "b")]
    path = write_xlsx(tmp_path / "rows.xlsx", rows=lines)
    said = "\n".join(check_data(path, "sft", config("sft", path), None).refusals)
    assert "row 2: response: the cell holds a formula, not a value; found '=1+1'. Copy the column" in said
    assert "row 3: response: expected text, found datetime.datetime(2026, 1, 2" in said
    assert "row 4: has 4 cells, but the header has 3 columns." in said
    assert "3 of 4 rows are bad" in said


def mixed(folder: Path) -> None:
    (folder / "more").mkdir(parents=True)
    write_jsonl(folder / "a.jsonl", rows("sft", 2))
    (folder / "b.csv").write_text(text_of(rows("sft", 3), ";"), encoding="cp1256")
    write_jsonl(
        folder / "more" / "c.jsonl", [{"instruction": "a", "output": "b"}, "", row("sft", response="")]
    )
    write_xlsx(folder / "d.xlsx", rows=[HEADER, ("a", "b")])


def test_a_folder_of_mixed_files_is_one_dataset(tmp_path: Path) -> None:
    mixed(tmp_path / "set")
    report = check_data(str(tmp_path / "set"), "sft", config("sft", str(tmp_path / "set")), None)
    assert (report.rows, report.usable_rows, report.blank_lines) == (8, 7, 1)
    assert report.formats == {"tadrib": 6, "alpaca": 1}
    assert f"{tmp_path}/set/more/c.jsonl:3: response: is empty" in report.refusals[0]
    (tmp_path / "set" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"set/notes.txt: is of no format that is read.*set/\*\.jsonl"):
        values(tmp_path / "set")


def test_a_glob_names_files(tmp_path: Path) -> None:
    mixed(tmp_path / "set")
    name = f"{tmp_path}/set/*.[jc]s*"
    assert values(name) == [*rows("sft", 2), *rows("sft", 3)]
    before = fingerprint(name)
    write_jsonl(tmp_path / "set" / "a.jsonl", rows("sft", 3))
    assert fingerprint(name) not in (before, None)
    with pytest.raises(DataError, match=r"set/\*\.parquet: matches no file."):
        values(f"{tmp_path}/set/*.parquet")


def test_a_problem_in_several_files_names_each(tmp_path: Path) -> None:
    for name in "ab":
        write_jsonl(tmp_path / f"{name}.jsonl", [row("sft"), row("sft", response="")])
    (said, _) = check_data(f"{tmp_path}/*.jsonl", "sft", config("sft"), None).refusals
    assert said.startswith(f"{tmp_path}/a.jsonl:2: response: is empty.")
    assert f"(also in {tmp_path}/b.jsonl:2)" in said


def test_other_names_in_a_table_reach_the_row(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text(text_of(ROWS, "\t"), encoding="utf-16")
    layout = Layout(columns=COLUMNS)
    report = check_data(str(tmp_path / "rows.tsv"), "sft", config("sft", columns=layout.columns), None)
    assert (report.refusals, report.usable_rows) == ([], 5)
    chat = [user("س"), assistant("ج")]
    (tmp_path / "chat.csv").write_text(text_of([{"m": json.dumps(chat)}] * 2), encoding="utf-8")
    given = config("sft", columns={"messages": "m"})
    assert check_data(str(tmp_path / "chat.csv"), "sft", given, None).formats == {"openai": 2}
