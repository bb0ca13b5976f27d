# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is read as data: code that somebody planted in one of its pickles does not run, and an honest one
resumes."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from tadrib.training.config import METHODS
from tadrib.training.errors import TrainingError
from tadrib.training.loop.resuming import loading_data_alone
from tadrib.training.trainers import create_trainer
from tests.test_trajectories import fields
from tests.workers import run_workers

PLAIN = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


class Planted:
    """Makes the folder ``mark`` when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def config(folder: Path, **changes) -> dict:
    saving = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2, "evaluation_strategy": "no"}
    return fields(folder, per_device_train_batch_size=1, **saving, **changes)


def refusal_of(given: dict, *names: str, legacy: bool = False) -> str:
    """What resuming says once ``names`` of the first checkpoint hold planted code beside their own content."""
    folder = Path(given["output_dir"]).parent
    harmed, mark = folder / "harmed" / "checkpoint-1", folder / "code-ran"
    shutil.rmtree(harmed, ignore_errors=True)
    shutil.copytree(Path(given["output_dir"]) / "checkpoint-1", harmed)
    for name in names:
        content = {"own": torch.load(harmed / name, weights_only=False), "more": Planted(mark)}
        torch.save(content, harmed / name, _use_new_zipfile_serialization=not legacy)
        torch.load(harmed / name, weights_only=False)
        mark.rmdir()  # which fails unless the planted code works
    try:
        # in a folder of its own, as a training sets the checkpoints of others in its folder aside
        again = METHODS["sft"].config(**{**given, "output_dir": str(folder / "again")})
        create_trainer("sft", again).train(resume_from_checkpoint=str(harmed))
        said = "resumed"
    except TrainingError as error:
        said = str(error)
    return f"{said} and the code ran" if mark.exists() else said


def check(said: str, name: str) -> None:
    assert "the code ran" not in said
    assert (
        f"harmed/checkpoint-1/{name}: contains more than data, and nothing of it was loaded or executed"
        in said
    )
    assert "posix.mkdir" in said
    assert "Delete " in said
    assert "to resume from the previous one" in said


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict:
    given = config(tmp_path_factory.mktemp("plain"))
    create_trainer("sft", METHODS["sft"].config(**given)).train()
    return given


@pytest.mark.parametrize("name", PLAIN)
def test_planted_code_in_a_plain_checkpoint_does_not_run(plain, name):
    check(refusal_of(plain, name), name)


def test_nor_does_it_in_torch_s_older_format(plain):
    said = refusal_of(plain, "optimizer.pt", legacy=True)
    assert "the code ran" not in said
    assert "harmed/checkpoint-1: contains more than data" in said
    assert "posix.mkdir" in said, said


def test_an_honest_plain_checkpoint_resumes(plain):
    trainer = create_trainer("sft", METHODS["sft"].config(**plain))
    trainer.train(resume_from_checkpoint=f"{plain['output_dir']}/checkpoint-1")
    assert trainer.trainer.state.global_step == 2


def test_a_pickle_that_torch_did_not_write_is_refused(tmp_path):
    (tmp_path / "scheduler.pt").write_bytes(pickle.dumps(Planted(tmp_path / "code-ran")))
    with (
        pytest.raises(TrainingError, match="contains more than data"),
        loading_data_alone(tmp_path),
    ):
        torch.load(tmp_path / "scheduler.pt", weights_only=False)
    assert not (tmp_path / "code-ran").exists()


def test_pickles_of_the_user_s_own_load_as_before_outside_training(tmp_path):
    with loading_data_alone(None):
        pass
    torch.save(Planted(tmp_path / "mark"), tmp_path / "own.pt")
    torch.load(tmp_path / "own.pt", weights_only=False)
    assert (tmp_path / "mark").exists()


def sharded_refusals(cases: list[dict]) -> list[dict]:
    """Train, resume honestly, then with every pickle of the checkpoint harmed, in either format of torch: their names
    and what was said."""
    found = []
    for given in cases:
        create_trainer("sft", METHODS["sft"].config(**given)).train()
        checkpoint = Path(given["output_dir"]) / "checkpoint-1"
        honest = create_trainer("sft", METHODS["sft"].config(**given))
        honest.train(resume_from_checkpoint=str(checkpoint))
        pickles = [path for path in sorted(checkpoint.rglob("*")) if path.suffix in (".pt", ".pth")]
        names = [path.relative_to(checkpoint).as_posix() for path in pickles]
        said, legacy = refusal_of(given, *names), refusal_of(given, *names, legacy=True)
        found.append(
            {"steps": honest.trainer.state.global_step, "names": names, "said": said, "legacy": legacy}
        )
    return found


@pytest.mark.slow
def test_planted_code_in_a_sharded_checkpoint_does_not_run(tmp_path):
    cases = []
    for strategy in ("zero2", "zero3"):
        (tmp_path / strategy).mkdir()
        cases.append(config(tmp_path / strategy, strategy=strategy))
    [found] = run_workers(1, sharded_refusals, cases, folder=tmp_path)
    for case in found:
        assert case["steps"] == 2
        assert {name.rpartition("_")[2] for name in case["names"]} >= {"states.pt", "state.pth"}
        for name in case["names"]:
            check(case["said"], name)
        assert "harmed/checkpoint-1: contains more than data" in case["legacy"]
        assert "the code ran" not in case["legacy"]
