# SPDX-License-Identifier: Apache-2.0
"""Encoded blocks: the same bytes whoever encodes them and however often, shared where they are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tadrib.training.config import CommonConfig
from tadrib.training.data.blocks import encoded_rows, processes, raw_block
from tadrib.training.data.blocks.block_store import BlockStore
from tadrib.training.data.blocks.encoded_rows import encode_rows
from tadrib.training.data.blocks.encoding_job import EncodingJob
from tadrib.training.data.prepare import PreparedData, prepare_data
from tadrib.training.engine.loader import FetchAhead
from tadrib.training.engine.plan import EpochPlanner
from tadrib.training.errors import DataError
from tadrib.training.phases import Phase, followed
from tests.data.builders import CHATML, build_tokenizer, config, row, rows, write_jsonl


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_block, "MAX_ROWS", 8)


def prepare(store: Path, settings: CommonConfig, chat_template: str | None = CHATML) -> PreparedData:
    return prepare_data(settings, settings.method, build_tokenizer(chat_template), store=str(store))


def contents(store: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in store.iterdir() if file.is_file()}


def mixed_rows(count: int) -> list:
    """Good rows, and some that are bad or blank."""
    items: list = [item | {"response": "القاهرة" * (1 + n % 4)} for n, item in enumerate(rows("sft", count))]
    items[3], items[count // 2], items[-2] = row("sft", response=""), "{", ""
    return items


def test_a_dataset_is_read_in_blocks_and_the_report_is_that_of_one(tmp_path, monkeypatch):
    name = write_jsonl(tmp_path / "rows.jsonl", mixed_rows(40))
    limits = {"max_seq_length": 18, "truncation": "drop", "instruction_template": "plain"}
    settings = config("sft", name, max_bad_rows=5, validation_split=0.2, **limits)
    several = prepare(tmp_path / "several", settings)
    monkeypatch.setattr(raw_block, "MAX_ROWS", 1000)
    one = prepare(tmp_path / "one", settings)

    assert several.report == one.report
    assert 0 < one.report.dropped < one.report.usable_rows
    assert list(several.train) == list(one.train)
    assert list(several.eval or []) == list(one.eval or [])
    assert [len(list((tmp_path / each).glob("*.index.arrow"))) for each in ("several", "one")] == [5, 1]


def test_a_block_ends_at_its_bytes_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_block, "MAX_BYTES", 300)
    name = write_jsonl(tmp_path / "rows.jsonl", [row("sft", response="x" * n) for n in (10, 500, 10, 10)])
    prepare(tmp_path / "store", config("sft", name, max_seq_length=1000))
    assert len(list((tmp_path / "store").glob("*.index.arrow"))) == 2


def test_processes_encode_what_this_process_would(tmp_path, monkeypatch):
    settings = config("sft", write_jsonl(tmp_path / "rows.jsonl", mixed_rows(60)), max_bad_rows=5)
    monkeypatch.setattr(processes, "_OWN_BLOCKS", 1000)
    here = prepare(tmp_path / "here", settings)
    monkeypatch.setattr(processes, "_OWN_BLOCKS", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    apart = prepare(tmp_path / "apart", settings)

    assert contents(tmp_path / "apart") == contents(tmp_path / "here")
    assert apart.report == here.report
    assert list(apart.train) == list(here.train)


def test_what_goes_wrong_in_a_process_is_what_would_go_wrong_here(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_OWN_BLOCKS", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    bad = [row("sft", response="")] * 40
    with pytest.raises(DataError, match="40 of 40 rows are bad") as caught:
        prepare(tmp_path, config("sft", write_jsonl(tmp_path / "rows.jsonl", bad)))
    assert "(also in lines 2, 3, 4, 5, 6, 7, 8 and 32 more)" in str(caught.value)


SAME = {"beta": 0.3, "learning_rate": 1e-3, "seed": 7, "validation_split": 0.2, "max_bad_rows": 3}
OTHER = {
    "max_length": 100,
    "max_prompt_length": 50,
    "truncation": "drop",
    "instruction_template": "chatml",
    "text_normalization": ["alef"],
}


def test_the_same_rows_are_encoded_once(tmp_path):
    given = config("dpo", write_jsonl(tmp_path / "rows.jsonl", rows("dpo", 20)))
    assert prepare(tmp_path / "store", given).encoded_rows == 20
    for changed in [given.replace(**{key: value}) for key, value in SAME.items()]:
        assert prepare(tmp_path / "store", changed).encoded_rows == 0
    # SimPO's rows are DPO's
    assert prepare(tmp_path / "store", config("simpo", given.dataset_path)).encoded_rows == 0
    # IPO's may have lengths
    assert prepare(tmp_path / "store", config("ipo", given.dataset_path)).encoded_rows == 20


@pytest.mark.parametrize("key", OTHER)
def test_what_changes_the_tokens_encodes_anew(tmp_path, key):
    given = config("dpo", write_jsonl(tmp_path / "rows.jsonl", rows("dpo", 10)))
    prepare(tmp_path / "store", given)
    assert prepare(tmp_path / "store", given.replace(**{key: OTHER[key]})).encoded_rows == 10


def test_another_chat_template_encodes_anew(tmp_path):
    given = config("sft", write_jsonl(tmp_path / "rows.jsonl", rows("sft", 10)), instruction_template="auto")
    prepare(tmp_path / "store", given)
    other = CHATML.replace("<|im_end|>\\n", "<|im_end|>")
    assert prepare(tmp_path / "store", given, other).encoded_rows == 10
    assert prepare(tmp_path / "store", given).encoded_rows == 0


def test_a_changed_row_encodes_its_block_and_added_rows_theirs(tmp_path):
    items = rows("sft", 24)
    name = write_jsonl(tmp_path / "rows.jsonl", items)
    prepare(tmp_path / "store", config("sft", name))
    items[10] = row("sft", response="another")
    write_jsonl(tmp_path / "rows.jsonl", items)
    assert prepare(tmp_path / "store", config("sft", name)).encoded_rows == 8
    write_jsonl(tmp_path / "rows.jsonl", [*items, *items[:3]])
    data = prepare(tmp_path / "store", config("sft", name))
    assert data.encoded_rows == 3
    assert data.train[10] != data.train[9]
    assert len(data.train) == 27


def test_a_damaged_block_is_encoded_again(tmp_path):
    settings = config("sft", write_jsonl(tmp_path / "rows.jsonl", rows("sft", 24)))
    before = list(prepare(tmp_path / "store", settings).train)
    whole = contents(tmp_path / "store")
    for name in sorted(whole)[:2]:
        (tmp_path / "store" / name).write_bytes(whole[name][:-20])
    data = prepare(tmp_path / "store", settings)
    assert data.encoded_rows == 8
    assert list(data.train) == before
    assert contents(tmp_path / "store") == whole


def test_two_may_prepare_the_same_at_once(tmp_path):
    settings = config("sft", write_jsonl(tmp_path / "rows.jsonl", rows("sft", 24)))
    job = EncodingJob(settings, "sft", build_tokenizer())
    stores = [BlockStore(str(tmp_path / "store")) for _ in range(2)]
    ours, theirs = (processes.encode_here(settings.dataset_path, job, store) for store in stores)
    found = [(next(ours), next(theirs)) for _ in range(3)]
    assert [one.file for one, _ in found] == [other.file for _, other in found]
    assert [next(each, None) for each in (ours, theirs)] == [None, None]
    assert encode_rows(settings.dataset_path, job, stores[0]).encoded == 0


def test_progress_is_told_in_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded_rows, "_SECONDS_UNTOLD", 0.0)
    settings = config("sft", write_jsonl(tmp_path / "rows.jsonl", rows("sft", 20)))
    phases: list[Phase] = []
    with followed(phases.append):
        prepare(tmp_path / "store", settings)
    assert [(p.text, p.done, p.planned, p.unit) for p in phases] == [
        ("preparing the data", done, 20, "rows") for done in (8, 16)
    ]


KILLED = """
import sys
from tadrib.training.data.blocks import raw_block
from tests.data.test_blocks import prepare, config
raw_block.MAX_ROWS = 8
from pathlib import Path
prepare(Path(sys.argv[1]), config("sft", sys.argv[2]))
"""


def test_a_preparation_that_is_killed_goes_on_with_the_blocks_that_are_missing(tmp_path):
    name = write_jsonl(tmp_path / "rows.jsonl", rows("sft", 4000))
    whole = prepare(tmp_path / "whole", config("sft", name))
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "store"), name])
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "store").glob("*.index.arrow"))) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()

    data = prepare(tmp_path / "store", config("sft", name))

    assert 0 < data.encoded_rows < 4000
    assert list(data.train) == list(whole.train)
    left = contents(tmp_path / "store")
    assert {file: left[file] for file in left if not file.startswith(".")} == contents(tmp_path / "whole")


def test_a_worker_fetches_only_the_blocks_of_its_steps(tmp_path, monkeypatch):
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path / "driver"))
    settings = config("sft", write_jsonl(tmp_path / "rows.jsonl", rows("sft", 40)))
    url = f"file://{tmp_path}/store"
    prepare_data(settings, "sft", build_tokenizer(), store=url).save(tmp_path / "data")
    assert not list((tmp_path / "driver").rglob("*.arrow")), "the driver needs none"

    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path / "worker"))
    data = PreparedData.load(tmp_path / "data").train.select(list(range(4, 20)))
    planner = EpochPlanner(data.num_tokens, rows_per_step=4, shuffle=False)
    ahead = FetchAhead(data, planner, worker=0)
    ahead.start(0, step=1)  # rows 8 to 19, in the second and third block

    deadline = time.monotonic() + 60
    while len(here := {file.name for file in (tmp_path / "worker").rglob("*.arrow")}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stored = [file.name for file in (tmp_path / "store").glob("*.arrow") if ".index" not in file.name]
    assert here < set(stored)
    assert (len(here), len(stored)) == (2, 5)
    assert [group.row for group in data] == list(range(4, 20))
