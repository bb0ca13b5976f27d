# SPDX-License-Identifier: Apache-2.0
"""Sources: the same rows out of every format and place, and the refusal of what cannot be read."""

from __future__ import annotations

import csv
import gzip
import http.server
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st

from tadrib.training.data.readers.lines import MAX_LINE_BYTES, read_lines
from tadrib.training.data.readers.sources import open_source
from tadrib.training.errors import DataError
from tests.data.builders import rows, write_jsonl

ROWS = rows("cpo", 5)
FLAT = rows("dpo", 5)


def values(name: str) -> list[dict[str, Any] | None]:
    return [raw.value for raw in open_source(name).rows]


def write_csv(path: Path, items: list[dict[str, Any]], delimiter: str = ",") -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(items[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(items)
    return str(path)


def test_every_format_gives_the_rows_of_the_jsonl_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    expected = values(write_jsonl(tmp_path / "rows.jsonl", FLAT))
    (tmp_path / "rows.json").write_text(json.dumps(FLAT), encoding="utf-8")
    (tmp_path / "wrapped.json").write_text(json.dumps({"data": FLAT}), encoding="utf-8")
    write_jsonl(tmp_path / "misnamed.json", FLAT)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress((tmp_path / "rows.jsonl").read_bytes()))
    write_csv(tmp_path / "rows.csv", FLAT)
    write_csv(tmp_path / "rows.tsv", FLAT, delimiter="\t")
    pq.write_table(pa.Table.from_pylist(FLAT), tmp_path / "rows.parquet")
    Dataset.from_list(FLAT).save_to_disk(tmp_path / "saved")
    DatasetDict({"train": Dataset.from_list(FLAT[:2]), "test": Dataset.from_list(FLAT)}).save_to_disk(
        tmp_path / "splits"
    )
    (tmp_path / "folder").mkdir()
    write_jsonl(tmp_path / "folder" / "train.jsonl", FLAT)
    assert expected == FLAT
    for name in (
        *("rows.json", "wrapped.json", "misnamed.json", "rows.jsonl.gz", "rows.csv", "rows.tsv"),
        *("rows.parquet", "saved", "splits:test", "folder"),
    ):
        assert values(str(tmp_path / name)) == expected, name
    assert values(str(tmp_path / "splits")) == FLAT[:2]


def test_csv_cells_of_typed_columns_are_read_as_what_they_are(tmp_path: Path) -> None:
    kto = {"prompt": "q", "completion": 'a, "b"\nc', "label": True, "note": ""}
    cpo = {"prompt": '[{"role": "user", "content": "q"}]', "rejected": '["a", "b"]', "chosen": "[1] first"}
    ipo = {"prompt": "[not json", "chosen_length": 7}
    assert values(write_csv(tmp_path / "kto.csv", [kto])) == [kto | {"note": None}]
    assert values(write_csv(tmp_path / "ipo.csv", [ipo])) == [ipo]
    (read,) = values(write_csv(tmp_path / "cpo.csv", [cpo]))
    assert read == {
        "prompt": [{"role": "user", "content": "q"}],
        "rejected": ["a", "b"],
        "chosen": "[1] first",
    }


def test_rows_know_their_line_and_blank_lines_are_counted(tmp_path: Path) -> None:
    source = open_source(write_jsonl(tmp_path / "rows.jsonl", [FLAT[0], "", FLAT[1], "   ", FLAT[2]]))
    assert [raw.number for raw in source.rows] == [1, 3, 5]
    assert source.blank_lines == 2
    assert source.where(3) == f"{tmp_path}/rows.jsonl:3"
    quoted = [{"prompt": "two\nlines", "chosen": "a"}, {"prompt": "p", "chosen": "b"}]
    assert [raw.number for raw in open_source(write_csv(tmp_path / "rows.csv", quoted)).rows] == [2, 4]


def test_a_byte_order_mark_and_windows_line_ends_are_no_content(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": "b"}')
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbfprompt,chosen\r\na,b\r\n")
    assert values(str(tmp_path / "rows.jsonl")) == [{"prompt": "a"}, {"prompt": "b"}]
    assert values(str(tmp_path / "rows.csv")) == [{"prompt": "a", "chosen": "b"}]


def test_an_fsspec_url_is_read_like_a_path(tmp_path: Path) -> None:
    local = tmp_path / "rows.jsonl"
    write_jsonl(local, ROWS)
    memory = fsspec.filesystem("memory")
    memory.pipe("/sets/rows.jsonl", local.read_bytes())
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    memory.put(str(tmp_path / "saved") + "/", "/sets/saved", recursive=True)
    assert values("memory://sets/rows.jsonl") == ROWS
    assert values("memory://sets/saved") == ROWS
    with pytest.raises(
        DataError, match=r"memory://sets/row.jsonl: does not exist. Did you mean rows.jsonl\?"
    ):
        open_source("memory://sets/row.jsonl")


@contextmanager
def object_store(objects: dict[str, bytes]) -> Iterator[str]:
    """An HTTP server that answers the part of the S3 protocol that reading needs; gives its host:port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            content = objects.get(self.path.partition("?")[0])
            if content is None:
                self.send_error(404)
                return
            first, last = 0, len(content) - 1
            asked = self.headers.get("Range", "").removeprefix("bytes=")
            if asked:
                first, last = int(asked.split("-")[0]), min(last, int(asked.split("-")[1]))
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
            self.end_headers()
            if body:
                self.wfile.write(content[first : last + 1])

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are no output of a test."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_an_s3_url_goes_to_the_endpoint_it_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, ROWS)
    with object_store({"/bucket/sets/rows.jsonl": path.read_bytes()}) as endpoint:
        options = f"endpoint_override={endpoint}&scheme=http&region=x"
        name = f"s3://key:secret@bucket/sets/rows.jsonl?{options}"
        assert values(name) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "missing/rows.jsonl",
            None,
            "rows.jsonl: does not exist: there is no folder .*missing. Check dataset_path.",
        ),
        ("row.jsonl", None, r"does not exist. Did you mean rows.jsonl\?"),
        ("other.parquet", None, "does not exist. The folder contains rows.jsonl."),
        ("empty.jsonl", b"", "is empty: it has no rows"),
        ("blank.jsonl", b"\n \n", "is empty: it has no rows"),
        ("empty.json", b"", "is empty: it has no rows"),
        ("none.json", b"[]", "is empty: it has no rows"),
        ("empty.csv", b"", "is empty: it has no rows"),
        ("header.csv", b"prompt,chosen\n", "is empty: it has no rows"),
        ("empty.parquet", b"", "is empty: it has no rows"),
        ("rows.txt", b"text", r"has the extension '.txt', but the format is recognized by it: one of .jsonl"),
        ("rows", b"text", "has no extension, but the format is recognized by it"),
        (
            "broken.json",
            b'[{"a": 1},\n {"a": }]',
            r"broken.json:2: is not valid JSON: Expecting value at column 8",
        ),
        ("scalar.json", b"3", "expected an array of rows, or .*; found 3"),
        ("keyed.json", b'{"rows": [], "n": 1}', "found an object with the keys rows, n"),
        ("latin.json", b'[{"a":\n"caf\xe9"}]', r"latin.json:2: byte 0xe9 at byte 11 of the file"),
        ("broken.parquet", b"PAR1 no", "broken.parquet: cannot be read: "),
        ("torn.jsonl.gz", b"\x1f\x8b no", "torn.jsonl.gz: cannot be read: "),
        (
            "quotes.csv",
            b'prompt,chosen\na,"b\nc,d\n',
            r"quotes.csv:3: is not valid CSV: unexpected end of data",
        ),
        ("twice.csv", b"prompt,prompt\na,b\n", "twice.csv:1: has the column 'prompt' twice"),
        ("nameless.csv", b"prompt,\na,b\n", "nameless.csv:1: has a column without a name"),
    ],
)
def test_a_whole_file_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    write_jsonl(tmp_path / "rows.jsonl", FLAT)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        values(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere://bucket/rows.jsonl",
            "nowhere://bucket/rows.jsonl: cannot be read: Protocol not known: nowhere",
        ),
        ("s3://bucket/rows.jsonl?color=red", "cannot be read: Unexpected query parameter in S3 URI: 'color'"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(name)


def test_an_unknown_split_names_those_that_exist(tmp_path: Path) -> None:
    DatasetDict({"train": Dataset.from_list(FLAT), "test": Dataset.from_list(FLAT)}).save_to_disk(
        tmp_path / "d"
    )
    with pytest.raises(DataError, match=r"has no split 'tests'; it has train, test. Write .*/d:test\."):
        values(f"{tmp_path}/d:tests")


def test_a_hub_id_that_the_hub_does_not_give_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError, match="is not a local path, and the Hugging Face Hub does not provide it: "
    ):
        values("no-such-org/no-such-name:train")


@given(lines=st.lists(st.binary().filter(lambda line: b"\n" not in line)), limit=st.integers(1, 20))
def test_lines_are_those_of_the_file_cut_at_the_limit(lines: list[bytes], limit: int) -> None:
    content = b"\n".join([b"first", *lines, b"last"])
    read = list(read_lines(io.BytesIO(content), limit))
    assert [line.number for line in read] == list(range(1, len(lines) + 3))
    for line, whole in zip(read, [b"first", *lines, b"last"], strict=True):
        assert content[line.offset :].startswith(whole)
        assert line.data in (whole[:limit], whole[:limit].removesuffix(b"\r"))
        assert len(whole) - 1 <= line.size <= len(whole)


def test_a_line_above_the_limit_is_a_bad_row_and_the_next_one_is_read(tmp_path: Path) -> None:
    long = json.dumps({"prompt": "x" * (MAX_LINE_BYTES + 5_000_000)})
    name = write_jsonl(tmp_path / "rows.jsonl", [FLAT[0], long, FLAT[1]])
    first, second, third = open_source(name).rows
    assert (first.value, third.value) == (FLAT[0], FLAT[1])
    assert second.problem is not None
    assert (
        second.problem.message == f"the line has {len(long):,} bytes, but a row may have at most 8,388,608."
    )
    assert len(second.text) <= 2000
