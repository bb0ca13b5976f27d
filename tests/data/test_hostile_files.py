# SPDX-License-Identifier: Apache-2.0
"""Hostile files: numbers, nesting, packed bytes and things that are no files, each a bad row or a refusal."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tadrib.training.data.readers.compression import FREE_BYTES
from tadrib.training.data.readers.sources import open_source
from tadrib.training.data.report.check import check_data
from tadrib.training.errors import DataError
from tests.data.builders import config, row, rows

TEXT = "".join(json.dumps(each) + "\n" for each in rows("dpo", 50)).encode()
PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def refusals(tmp_path: Path, method: str, name: str, content: bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content)
    return "\n".join(check_data(str(path), method, config(method, str(path)), None).refusals)


def refusals_or_error(tmp_path: Path, name: str, content: bytes) -> str:
    """What is said of bad rows, or of a file that cannot be read at all."""
    try:
        return refusals(tmp_path, "dpo", name, content)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("length", ["Infinity", "-Infinity", "NaN", "1e400", "[NaN]", "9" * 400, "1e18"])
def test_a_length_that_is_no_length_is_a_bad_row(tmp_path, length):
    text = json.dumps(row("ipo", chosen_length=0, rejected_length=5)).replace(": 0", f": {length}")
    said = refusals(tmp_path, "ipo", "rows.jsonl", text.encode())
    assert "expected a whole number from 1 to" in said or "expected one length for each answer" in said


def test_a_number_of_thousands_of_digits_is_a_bad_row(tmp_path):
    said = refusals(tmp_path, "dpo", "rows.jsonl", b'{"prompt": ' + b"9" * 5000 + b"}")
    assert "rows.jsonl:1: is not valid JSON: it contains a number with thousands of digits" in said
    cells = b"prompt,chosen,rejected,chosen_length,rejected_length\na,b,c," + b"9" * 5000 + b",1\n"
    assert "rows.csv:2: chosen_length: expected a whole number" in refusals(
        tmp_path, "ipo", "rows.csv", cells
    )


@pytest.mark.parametrize("depth", [150, 900, 100_000])
def test_deep_nesting_is_a_bad_row_in_json_and_plain_text_in_a_cell(tmp_path, depth):
    deep = "[" * depth + "]" * depth
    said = refusals(tmp_path, "dpo", "rows.jsonl", f'{{"prompt": {deep}}}'.encode())
    assert "nested too deeply, more than 100 levels" in said
    (tmp_path / "rows.csv").write_text(f"prompt,chosen,rejected\na,b,{deep}\n")
    assert next(iter(open_source(str(tmp_path / "rows.csv")).rows)).value["rejected"] == deep


@pytest.mark.parametrize("packing", PACKERS)
def test_packed_rows_are_read_and_damaged_ones_refused(tmp_path, packing):
    path, packed = tmp_path / f"rows.jsonl.{packing}", PACKERS[packing](TEXT)
    path.write_bytes(packed)
    assert [each.value for each in open_source(str(path)).rows] == rows("dpo", 50)
    middle = len(packed) // 2
    for damaged in (
        packed[:middle] + bytes(b ^ 255 for b in packed[middle : middle + 4]) + packed[middle + 4 :],
        packed[:middle],
        packed[:-4] + b"\xff" * 4,
        b"\xff" * 40,
    ):
        path.write_bytes(damaged)
        if packing == "zst" and damaged not in (packed[:middle], b"\xff" * 40):
            continue  # its frames need not have a checksum
        with pytest.raises(DataError, match="cannot be read: it is corrupt"):
            list(open_source(str(path)).rows)


@pytest.mark.parametrize("packing", PACKERS)
def test_a_file_that_unpacks_to_far_more_than_text_does_is_refused(tmp_path, packing):
    path = tmp_path / f"rows.jsonl.{packing}"
    path.write_bytes(PACKERS[packing](b" " * (FREE_BYTES + 1_000_000)))
    with pytest.raises(DataError, match=r"its [\d,]+ bytes decompress to more than 100,000,000"):
        list(open_source(str(path)).rows)


def test_a_parquet_file_of_one_text_over_and_over_is_refused(tmp_path):
    count = 2000
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["x" * 100_000]))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt": texts.cast(pa.string())}), buffer)
    (tmp_path / "rows.parquet").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="decompress to more than 100,000,000"):
        list(open_source(str(tmp_path / "rows.parquet")).rows)


def test_parquet_values_that_python_has_not_are_refused(tmp_path):
    pq.write_table(pa.table({"prompt": pa.array([2**40], pa.date64())}), tmp_path / "ok.parquet")
    table = pa.table({"prompt": pa.array([2**60], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet: cannot be read: "):
        list(open_source(str(tmp_path / "rows.parquet")).rows)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    for name in ("pipe.jsonl", "zero.jsonl"):
        with pytest.raises(DataError, match="cannot be read: it is a pipe or a device, not a file"):
            list(open_source(str(tmp_path / name)).rows)
    for name in ("loop.jsonl", "n" * 10_000 + ".jsonl", "a\0b.jsonl"):
        with pytest.raises(DataError):
            list(open_source(str(tmp_path / name)).rows)


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("columns.jsonl", lambda names: names),
        ("message.jsonl", lambda names: {"prompt": [names]}),
        ("object.json", lambda names: names),
    ],
)
def test_no_message_grows_with_the_names_in_a_file(tmp_path, name, wrap):
    names = {f"{number:05}" + "a" * 10_000: 1 for number in range(30)}
    content = json.dumps(wrap(names)).encode()
    said = refusals_or_error(tmp_path, name, content)
    assert "aaa... and 10 more" in said
    assert len(said) < 5000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("row.jsonl", '{"LONG": 1, "LONG": 2}'),
        ("message.jsonl", '{"prompt": [{"LONG": 1, "LONG": 2}]}'),
        ("rows.csv", "LONG,LONG\n1,2"),
    ],
)
def test_a_key_that_stands_twice_is_told_in_short(tmp_path, name, text):
    content = text.replace("LONG", "a" * 10_000).encode() + b"\n"
    said = refusals_or_error(tmp_path, name, content)
    assert "twice" in said
    assert len(said) < 2000
