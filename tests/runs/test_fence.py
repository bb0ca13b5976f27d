# SPDX-License-Identifier: Apache-2.0
"""What a start that has lost its run still writes to it: nothing."""

import io
import threading

import pytest

from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.driver.launch import _Launch
from tadrib.ray_jobs.runs.lock import locked
from tadrib.training.config import JobSpec
from tadrib.training.loop.checkpoint_manager import FolderCheckpointManager, SavedCheckpoint
from tadrib.training.loop.store_checkpoint_manager import StoreCheckpointManager
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.fence import Fence, TakenOverError
from tadrib.training.run.holder import Holder
from tadrib.training.run.names import LOCK


def taken(run: RunDirectory) -> None:
    other = Holder(owner="b", host="elsewhere", pid=1, process=1.0, started=0.0, beat=0.0)
    run.files.write(LOCK, other.model_dump_json())


def taken_and_let_go(run: RunDirectory) -> None:
    taken(run)
    run.files.remove(LOCK)


@pytest.mark.parametrize("take", [taken, taken_and_let_go])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_who_has_lost_a_run_commits_nothing_to_it(tmp_path, monkeypatch, take, scheme):
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path / "scratch"))
    run = RunDirectory(f"{scheme}{tmp_path}/run")
    run.create()
    with locked(run, lambda: None) as fence:
        manager = (
            StoreCheckpointManager(run.store, fence.require)
            if scheme
            else FolderCheckpointManager(fence.require)
        )
        save(manager, run, 10)
        assert not fence.is_lost()
        assert run.latest_checkpoint().name == "checkpoint-10"
        take(run)

        with pytest.raises(TakenOverError, match="taken it over; this start writes nothing more"):
            save(manager, run, 20)
        with pytest.raises(TakenOverError):
            recorded(run, fence)

    assert run.latest_checkpoint().name == "checkpoint-10"
    assert not list(tmp_path.glob("run/checkpoints/checkpoint-20/*"))
    assert not list(tmp_path.rglob("result.json"))


def save(manager, run: RunDirectory, step: int) -> None:
    aside = run.checkpoints / ".saving" / f"checkpoint-{step}"
    aside.mkdir(parents=True)
    (aside / "weights").write_bytes(b"weights")
    manager.commit(
        SavedCheckpoint(aside, run.checkpoints / aside.name, rows_per_step=8, limit=None, best=None)
    )
    manager.close()


def recorded(run: RunDirectory, fence: Fence) -> None:
    spec = JobSpec(method="sft", name="run", dataset_path="rows.jsonl")
    start = _Launch(spec, run, Display(io.StringIO()), fence, threading.Event(), "tadrib train", 0.0)
    start._record("failed")
