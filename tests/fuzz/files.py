# SPDX-License-Identifier: Apache-2.0
"""File: a dataset of any format whose bytes were changed, and things that are no files."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pyarrow as pa
from pyarrow import parquet

from tadrib.training.config import METHODS
from tests.fuzz.data import check
from tests.fuzz.fragments import json_fragment, nested
from tests.fuzz.mutations import mutated
from tests.fuzz.specs import EXAMPLES

ROWS = 8
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}
BOMB_PIECE_BYTES = 10_000_000
BOMB_PIECES = 30


def try_file(random: Random, folder: Path) -> None:
    method = random.choice(list(METHODS))
    form = random.choice(["jsonl", "json", "csv", "tsv", "parquet"])
    roll = random.random()
    if roll < 0.01:
        check(random, _no_file(random, folder / f"rows.{form}"), method)
        return
    data = _encoded(method, form)
    if roll < 0.3:
        data = _rewritten(random, form, data)
    elif roll < 0.8:
        data = mutated(random, data)
    packing = random.choice(["", *PACKERS])
    data = _bomb(packing) if roll > 0.998 and packing else PACKERS[packing](data)
    if random.random() < 0.5:
        data = mutated(random, data)
    path = folder / f"rows.{form}{packing}"
    path.write_bytes(data)
    check(random, path, method)


@cache
def _bomb(packing: str) -> bytes:
    """Each format takes packed pieces one after another; packing the whole would take longer than an input may."""
    pack = PACKERS[packing]
    return pack(b'{"a": "') + pack(b" " * BOMB_PIECE_BYTES) * BOMB_PIECES


@cache
def _encoded(method: str, form: str) -> bytes:
    lines = (EXAMPLES / "data" / f"{method}_heldout.jsonl").read_text(encoding="utf-8").splitlines()[:ROWS]
    rows = [json.loads(line) for line in lines]
    if form == "jsonl":
        return "\n".join(lines).encode()
    if form == "json":
        return json.dumps({"data": rows}, ensure_ascii=False).encode()
    if form == "parquet":
        file = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows), file)
        return file.getvalue()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if form == "tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _rewritten(random: Random, form: str, data: bytes) -> bytes:
    """Other content of the same form."""
    if form == "parquet":
        return _table(random)
    if form in ("csv", "tsv"):
        comma = "\t" if form == "tsv" else ","
        header, *lines = data.decode().splitlines()
        cells = [json_fragment(random) for _ in header.split(comma)]
        quoted = ('"' + cell.replace('"', '""') + '"' if random.random() < 0.9 else cell for cell in cells)
        return "\n".join([header, *lines[: random.randrange(4)], comma.join(quoted)]).encode(
            "utf-8", "replace"
        )
    rows = [json_fragment(random) for _ in range(random.randint(1, 4))]
    if form == "jsonl":
        return "\n".join(rows).encode("utf-8", "replace")
    whole = [f"[{','.join(rows)}]", f'{{"data": [{",".join(rows)}]}}', nested(100_000, random), rows[0]]
    return random.choice(whole).encode("utf-8", "replace")


def _table(random: Random) -> bytes:
    """Parquet with column types that JSON has not."""
    columns = {
        "prompt": pa.array(["a", "b"], random.choice([pa.string(), pa.large_string(), pa.binary()])),
        "chosen": pa.array([["a"], None], pa.list_(pa.string())),
        "rejected": pa.array([1, 2**40], pa.timestamp("ns")),
        "label": pa.array(
            [1, None], random.choice([pa.int8(), pa.float64(), pa.decimal128(20, 2), pa.date32()])
        ),
        "completion": pa.array([b"\xff", b"x"], pa.binary()),
        "instruction": pa.array([{"role": "user"}, None], pa.struct([("role", pa.string())])),
        "response": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        "chosen_length": pa.array([float("inf"), float("nan")]),
        "rejected_length": pa.array([2**63, 1], pa.uint64()),
        "input": pa.array([None, None], pa.null()),
        "messages": pa.array(
            [2**62, -(2**62)], random.choice([pa.timestamp("us"), pa.duration("s"), pa.time64("us")])
        ),
    }
    names = random.sample(list(columns), random.randint(1, len(columns)))
    arrays = [columns[name] for name in names]
    if random.random() < 0.1:
        names[0] = random.choice([names[-1], "", "\0", "a" * 10_000])
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, names), file)
    return file.getvalue()


def _no_file(random: Random, path: Path) -> Path:
    match random.randrange(6):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to("/dev/zero")
        case 2:
            path.mkdir()
        case 3:
            path.symlink_to(path)
        case 4:
            return path.with_name("n" * 10_000 + ".jsonl")
        case _:
            return path.with_name("a\0b.jsonl")
    return path
