# SPDX-License-Identifier: Apache-2.0
"""ZeRO's shards, of workers on machines that share no disk, to an object store and back."""

import os
from pathlib import Path

import pytest

from tadrib.training.config import METHODS
from tadrib.training.files.store import Store
from tadrib.training.files.store_folders import download_folder
from tadrib.training.loop.store_checkpoint_manager import StoreCheckpointManager
from tadrib.training.run.checkpoints import stored_steps
from tadrib.training.run.names import CHECKPOINTS
from tadrib.training.trainers import create_trainer
from tests.s3 import Way, s3_server
from tests.test_trajectories import assert_close, fields
from tests.workers import run_workers

SAVED_AT = 3


def train(given: dict, url: str, machines: str, resume: bool) -> list[float]:
    """By one worker, whose machine is a folder of its own; the losses of its steps."""
    store = Store(url)
    checkpoints = Path(machines) / f"machine-{os.environ['RANK']}" / CHECKPOINTS
    checkpoints.mkdir(parents=True)
    resume_from = None
    if resume:
        resume_from = str(checkpoints / f"checkpoint-{SAVED_AT}")
        damage = download_folder(store, f"{CHECKPOINTS}/checkpoint-{SAVED_AT}", Path(resume_from))
        assert damage is None, damage
    trainer = create_trainer("sft", METHODS["sft"].config(**given | {"output_dir": str(checkpoints)}))
    engine = trainer.get_trainer()
    engine.checkpoint_manager = StoreCheckpointManager(store)
    trainer.train(resume_from_checkpoint=resume_from)
    engine.checkpoint_manager.close()
    return [row["loss"] for row in engine.state.log_history if "loss" in row]


@pytest.mark.slow
def test_shards_from_two_machines_are_one_checkpoint_that_both_continue_from(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    given = fields(
        tmp_path,
        use_lora=False,
        strategy="zero2",
        per_device_train_batch_size=2,
        save_strategy="steps",
        save_steps=SAVED_AT,
        max_steps=6,
    )
    with s3_server() as port:
        way = Way(port)
        url = f"s3://bucket/sharded?{way.query}"
        way.failures = 4

        whole = run_workers(2, train, given, url, str(tmp_path / "first"), False, folder=tmp_path)
        names = Store(url).sizes(f"{CHECKPOINTS}/checkpoint-{SAVED_AT}")
        again = run_workers(2, train, given, url, str(tmp_path / "second"), True, folder=tmp_path)
        steps = stored_steps(Store(url))
        way.close()

    shards = [name for name in names if "optim_states" in name]
    assert {name.partition("zero_pp_rank_")[2][0] for name in shards} == {"0", "1"}
    assert not any(".part-" in name for name in names)
    assert steps == [SAVED_AT, 6]
    assert way.failed == 4
    for rank in (0, 1):
        assert_close(again[rank], whole[rank], 1e-6)
