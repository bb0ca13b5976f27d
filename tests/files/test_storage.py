# SPDX-License-Identifier: Apache-2.0
"""Object stores, against a real S3-protocol server."""

import http.client
import threading
import time
from urllib.parse import urlsplit

import pytest

from tadrib.training.errors import ResourceError
from tadrib.training.files.store import Store
from tadrib.training.files.store_folders import delete_folder, download_folder, upload_folder
from tadrib.training.loop.checkpoint_manager import SavedCheckpoint
from tadrib.training.loop.store_checkpoint_manager import StoreCheckpointManager
from tadrib.training.run.checkpoints import newest_whole, stored_steps
from tadrib.training.run.directory import RunDirectory
from tests.s3 import Way, s3_server


@pytest.fixture(scope="module")
def server():
    with s3_server() as port:
        yield port


@pytest.fixture
def way(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    made = Way(server)
    yield made
    made.close()


@pytest.fixture
def store(way, request) -> Store:
    return Store(f"s3://bucket/{request.node.originalname}?{way.query}", retry_seconds=30)


def test_files_come_back_as_they_were_written_and_a_missing_one_is_none(store, tmp_path):
    store.write("a/b.json", b"{}")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 50_000)
    store.upload(tmp_path / "large", "a/large")

    store.download("a/large", tmp_path / "copy")

    assert store.read("a/b.json") == b"{}"
    assert store.read("a/none") is None
    assert store.sizes("a") == {"a/b.json": 2, "a/large": 12_800_000}
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "large").read_bytes()


def test_errors_and_broken_connections_in_mid_upload_are_waited_out(store, way, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    way.failures = 9

    store.upload(tmp_path / "file", "file")

    assert way.failed == 9
    assert store.read("file") == b"x" * 100_000


def test_a_server_that_restarts_is_waited_for(store, way):
    way.close()
    threading.Timer(2.0, way.open).start()

    store.write("after", b"1")

    assert store.read("after") == b"1"


def test_a_bucket_that_does_not_exist_is_refused_at_once_with_the_url(way):
    began = time.monotonic()
    with pytest.raises(ResourceError, match=r"s3://nowhere/runs.*could not write x.*credentials"):
        Store(f"s3://nowhere/runs?{way.query}", retry_seconds=60).write("x", b"1")
    assert time.monotonic() - began < 30


def test_a_folder_is_there_whole_or_not_at_all(store, tmp_path):
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "rows").write_bytes(b"rows")
    (folder / "report.json").write_text("{}")

    upload_folder(store, folder, "data")

    assert download_folder(store, "data", tmp_path / "other" / "data") is None
    assert (tmp_path / "other/data/train/rows").read_bytes() == b"rows"
    store.write("data/train/rows", b"rowz")
    assert (
        download_folder(store, "data", tmp_path / "third" / "data")
        == "train/rows has been altered: its SHA-256 differs from the manifest"
    )
    delete_folder(store, "data")
    assert store.sizes("data") == {}
    assert (
        download_folder(store, "data", tmp_path / "fourth" / "data") == "manifest.json is missing or invalid"
    )


def save(manager: StoreCheckpointManager, folder, step: int, limit: int = 2) -> None:
    aside = folder / ".saving" / f"checkpoint-{step}"
    aside.mkdir(parents=True)
    (aside / "weights.safetensors").write_bytes(bytes([step]) * 2_000_000)
    (aside / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    manager.commit(
        SavedCheckpoint(aside, folder / f"checkpoint-{step}", rows_per_step=8, limit=limit, best=None)
    )


def test_checkpoints_reach_the_store_through_errors_and_the_newest_whole_one_comes_back(store, way, tmp_path):
    manager = StoreCheckpointManager(store)
    here, there, said = tmp_path / "here", tmp_path / "there", []
    for step in (10, 20, 30):
        way.failures = 3
        save(manager, here, step)
    manager.close()

    assert stored_steps(store) == [20, 30]
    found = newest_whole(there, store)
    assert found == there / "checkpoint-30"
    assert (found / "weights.safetensors").read_bytes() == bytes([30]) * 2_000_000
    store.write("checkpoints/checkpoint-30/weights.safetensors", bytes([30]) * 1_999_999)
    assert newest_whole(tmp_path / "elsewhere", store, say=said.append).name == "checkpoint-20"
    assert "checkpoint-30" in said[0]
    assert "has 1,999,999 of 2,000,000 bytes" in said[0]


def test_a_checkpoint_without_its_manifest_is_none(store, tmp_path):
    manager = StoreCheckpointManager(store)
    save(manager, tmp_path, 10)
    manager.close()
    store.write("checkpoints/checkpoint-20/weights.safetensors", b"the job was killed before it was done")

    assert stored_steps(store) == [10]
    assert newest_whole(tmp_path, store).name == "checkpoint-10"


def test_the_small_files_of_a_run_are_the_stores_and_a_fresh_start_moves_them(way, tmp_path, monkeypatch):
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path))
    run = RunDirectory(f"s3://bucket/small/run?{way.query}")
    run.create()
    run.metrics.append({"step": 1})
    run.push(run.metrics.path)
    run.files.write("stop", "")
    run.metrics.path.unlink()

    run.pull()

    assert run.metrics.read() == [{"step": 1}]
    assert run.files.read("stop") == b""
    other = RunDirectory(f"s3://bucket/small/run.before-1?{way.query}")
    run.move_to(other)
    assert run.store.sizes() == {}
    assert set(other.store.sizes()) == {"metrics.jsonl", "stop"}


def test_a_listing_with_a_name_that_leads_out_is_refused_by_name(store, server):
    connection = http.client.HTTPConnection("127.0.0.1", server)
    folder = urlsplit(store.url).path
    connection.request("PUT", f"/bucket{folder}/%2E%2E/%2E%2E/victim", b"planted")
    assert connection.getresponse().status == 200

    with pytest.raises(ResourceError, match=r"contains \.\./\.\./victim, whose name leads out of the folder"):
        store.sizes()


@pytest.mark.parametrize(
    "refusal",
    [(400, "ExpiredToken"), (403, "InvalidAccessKeyId"), (403, "AccessDenied"), (401, "Unauthorized")],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.read("a"),
        lambda store: store.write("a", b"1"),
        lambda store: store.sizes(),
        lambda store: store.remove("a"),
    ],
    ids=["read", "write", "list", "delete"],
)
def test_credentials_that_are_refused_are_said_to_be_at_once(store, way, refusal, ask):
    way.refusal, began = refusal, time.monotonic()
    with pytest.raises(ResourceError, match=r"The token has expired.*credentials .* may have expired"):
        ask(store)
    assert time.monotonic() - began < 15


def test_credentials_that_are_renewed_a_moment_late_end_nothing(store, way):
    way.refusal = (400, "ExpiredToken")
    threading.Timer(0.7, setattr, [way, "refusal", None]).start()
    store.write("a", b"1")
    assert store.read("a") == b"1"
