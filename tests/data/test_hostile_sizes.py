# SPDX-License-Identifier: Apache-2.0
"""Files made to exhaust whoever reads them: each gets a clear answer, in bounded memory and time."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest

from tests.data.builders import row, write_jsonl

MEMORY_GROWTH = 200 * 1024**2
"""Bytes that reading may add to the process at its peak; a reader without limits needs more for most of these files."""
SECONDS = 60  # of CPU time
CHECK_EACH = """
import json, os, resource, sys
from tadrib.training.config import METHODS
from tadrib.training.data.report.check import check_data
from tadrib.training.errors import TadribError

def answer(path):
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        return check_data(path, "sft", METHODS["sft"].config(dataset_path=path), None).refusals
    except TadribError as error:
        return [str(error)]

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in json.loads(sys.argv[1]):
    if not (child := os.fork()):
        said = "\\n".join(answer(path))
        with open(os.path.join(os.path.dirname(path), "said"), "w") as file:
            file.write(said)
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    print(json.dumps([status, (usage.ru_maxrss - before) * 1024]), flush=True)
"""
_SHEET = "xl/worksheets/sheet1.xml"
_NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def workbook(path: Path, rows: str) -> None:
    """A workbook whose sheet has these ``rows``, in its own XML."""
    openpyxl.Workbook().save(path)
    with zipfile.ZipFile(path) as made:
        parts = {name: made.read(name) for name in made.namelist()}
    parts[_SHEET] = f'<worksheet xmlns="{_NAMESPACE}"><sheetData>{rows}</sheetData></worksheet>'.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)


def cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


HEADER = f'<row r="1">{cell("A1", "instruction")}{cell("B1", "response")}</row>'


def long_line(folder: Path) -> str:
    return write_jsonl(folder / "rows.jsonl", [row("sft"), row("sft", response="x" * 60_000_000), row("sft")])


def gzip_bomb(folder: Path) -> str:
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(b" " * 10_000_000) * 60)
    return str(folder / "rows.jsonl.gz")


def zstd_bomb(folder: Path) -> str:
    (folder / "rows.csv.zst").write_bytes(pa.compress(b" " * 600_000_000, codec="zstd", asbytes=True))
    return str(folder / "rows.csv.zst")


def xlsx_bomb(folder: Path) -> str:
    path = folder / "rows.xlsx"
    workbook(path, HEADER)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as made, made.open("xl/media/a.bin", "w") as part:
        for _ in range(11):
            part.write(b" " * 10_000_000)
    return str(path)


def far_row(folder: Path) -> str:
    last = f'<row r="999999999999">{cell("A999999999999", "a")}</row>'
    workbook(folder / "rows.xlsx", HEADER + last)
    return str(folder / "rows.xlsx")


def far_column(folder: Path) -> str:
    wide = "".join(f'<row r="{n}">{cell(f"ZZZ{n}", "a")}</row>' for n in range(2, 50))
    workbook(folder / "rows.xlsx", HEADER + wide)
    return str(folder / "rows.xlsx")


def formulas(folder: Path) -> str:
    lines = [
        f'<row r="{n}">{cell(f"A{n}", "a")}<c r="B{n}"><f>A{n}&amp;"b"</f></c></row>' for n in range(2, 500)
    ]
    workbook(folder / "rows.xlsx", HEADER + "".join(lines))
    return str(folder / "rows.xlsx")


def entities(folder: Path) -> str:
    """The billion laughs (CVE-2003-1564)."""
    path = folder / "rows.xlsx"
    workbook(path, HEADER)
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bad = f'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY l0 "lol">{laughs}]>'
    bad += f'<worksheet xmlns="{_NAMESPACE}"><sheetData>{HEADER}<row r="2">{cell("A2", "&l9;")}</row>'
    bad += "</sheetData></worksheet>"
    with zipfile.ZipFile(path) as made:
        parts = {name: made.read(name) for name in made.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in (parts | {_SHEET: bad.encode()}).items():
            made.writestr(name, content)
    return str(path)


def many_columns(folder: Path) -> str:
    names = [f"column{n}" for n in range(500)]
    (folder / "rows.csv").write_text(";".join(names) + "\n" + (";".join("x" * 500) + "\n") * 1000)
    return str(folder / "rows.csv")


def link_in_a_circle(folder: Path) -> str:
    (folder / "set").mkdir()
    (folder / "set" / "again").symlink_to(folder / "set")
    write_jsonl(folder / "set" / "a.jsonl", [row("sft", response="")])
    (folder / "set" / "b.jsonl").symlink_to(folder / "set" / "b.jsonl")
    return str(folder / "set")


def pipe(folder: Path) -> str:
    (folder / "set").mkdir()
    write_jsonl(folder / "set" / "a.jsonl", [row("sft")])
    os.mkfifo(folder / "set" / "b.jsonl")
    return str(folder / "set")


def device(folder: Path) -> str:
    (folder / "rows.csv").symlink_to("/dev/zero")
    return str(folder / "rows.csv")


def endless_number(folder: Path) -> str:
    content = json.dumps(row("sft", response=0)).replace(": 0", ": " + "9" * 7_000_000)
    (folder / "rows.jsonl").write_text(content)
    return str(folder / "rows.jsonl")


HOSTILE: dict[str, tuple[Callable[[Path], str], str]] = {
    "a line of 60 MB": (long_line, "rows.jsonl:2: the line has 60,000,"),
    "a gzip bomb": (gzip_bomb, "decompress to more than 1"),
    "a zstd bomb": (zstd_bomb, "decompress to more than 100,000,000"),
    "an xlsx bomb": (xlsx_bomb, "decompress to more than 100,000,000"),
    "a workbook of a million million rows": (far_row, "a sheet has at most 1,048,576 rows"),
    "a workbook with cells far to the right": (far_column, "row 2: has 18278 cells, but the header has 2"),
    "a workbook of formulas": (formulas, "row 2: response: the cell holds a formula"),
    "a workbook of entities": (entities, "rows.xlsx: cannot be read: "),
    "500 columns": (many_columns, "instruction: the column is missing; found column0, column1,"),
    "links in a circle": (link_in_a_circle, "b.jsonl: cannot be read: "),
    "a pipe in a folder": (pipe, "b.jsonl: cannot be read: it is a pipe or a device"),
    "a device": (device, "cannot be read: it is a pipe or a device, not a file"),
    "a number of 7 MB": (endless_number, "it contains a number with thousands of digits"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    """What is said of each file, and how many bytes reading it took; one process forks a child for each."""
    folders = {case: tmp_path_factory.mktemp("hostile") for case in HOSTILE}
    paths = [make(folders[case]) for case, (make, _) in HOSTILE.items()]
    program = [sys.executable, "-c", f"SECONDS = {SECONDS}\n{CHECK_EACH}", json.dumps(paths)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    found = {}
    for case, line in zip(HOSTILE, done.stdout.splitlines(), strict=True):
        status, growth = json.loads(line)
        assert status == 0, (case, done.stderr)
        found[case] = ((folders[case] / "said").read_text(), growth)
    return found


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_answered_in_bounded_memory_and_time(
    answers: dict[str, tuple[str, int]], case: str
) -> None:
    said, growth = answers[case]
    assert HOSTILE[case][1] in said
    assert growth < MEMORY_GROWTH
    assert len(said) < 8000
