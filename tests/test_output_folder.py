# SPDX-License-Identifier: Apache-2.0
"""Trainings from Python that share an output folder: none deletes or overwrites what another one made."""

import shutil

import pytest
from safetensors.torch import load_file

from tadrib.training.config import METHODS
from tadrib.training.errors import SpecError
from tadrib.training.files.manifest import Manifest
from tadrib.training.run.checkpoint_folders import committed
from tadrib.training.trainers import create_trainer
from tests.tiny import tiny_model, write_rows

KEPT = "weights.safetensors"


def trainer_of(folder, method: str, **changes):
    rows = {"sft": "sft_train.jsonl", "dpo": "dpo_train.jsonl"}[method]
    given = {
        "model_name": tiny_model(),
        "dataset_path": write_rows(folder / f"{method}.jsonl", rows, 8),
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 2,
        "torch_dtype": "float32",
        "max_steps": 3,
        "save_steps": 1,
        "save_total_limit": 2,
        "evaluation_strategy": "no",
        "load_best_model_at_end": False,
        "report_to": [],
    }
    return create_trainer(method, METHODS[method].config(**given | changes))


def old_checkpoint(folder, step: int) -> None:
    """Of another training, as it left it."""
    made = folder / "out" / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / KEPT).write_text(f"of step {step}")
    (made / "manifest.json").write_text(Manifest(step=step, files={}).to_json())


def test_a_fresh_training_keeps_the_checkpoints_of_another_and_its_own_newest(tmp_path, caplog):
    for step in (2, 1000):
        old_checkpoint(tmp_path, step)

    trainer_of(tmp_path, "sft").train()

    assert sorted(committed(tmp_path / "out")) == [2, 3]
    for step in (2, 1000):
        assert (tmp_path / "out" / f"checkpoint-{step}.before-1" / KEPT).read_text() == f"of step {step}"
    assert "kept as checkpoint-2.before-1, checkpoint-1000.before-1." in caplog.text


def test_a_training_that_resumes_keeps_what_was_saved_after_that_step(tmp_path):
    trainer_of(tmp_path, "sft").train()
    third = Manifest.read(tmp_path / "out" / "checkpoint-3")

    trainer_of(tmp_path, "sft", seed=7).train(str(tmp_path / "out" / "checkpoint-2"))

    assert Manifest.read(tmp_path / "out" / "checkpoint-3.before-1") == third
    assert sorted(committed(tmp_path / "out")) == [2, 3]


def test_one_method_saves_its_model_beside_that_of_another(tmp_path, caplog):
    first = trainer_of(tmp_path, "sft")
    first.train()
    final = first.save_model()
    learnt = load_file(final / "adapter_model.safetensors")
    assert first.save_model() == final
    assert [path.name for path in (tmp_path / "out").glob("final*")] == ["final"]

    second = trainer_of(tmp_path, "dpo")
    second.train()

    assert second.save_model() == final
    kept = load_file(tmp_path / "out" / "final.before-1" / "adapter_model.safetensors")
    assert all(kept[name].equal(learnt[name]) for name in learnt)
    assert "final.before-1" in caplog.text


@pytest.mark.parametrize("key", ["model_name", "ref_model_name"])
def test_a_model_is_not_written_over_the_one_it_comes_from(tmp_path, key):
    base = tmp_path / "out" / "final"
    shutil.copytree(tiny_model(), base)
    trainer = trainer_of(tmp_path, "dpo", **{key: f"{tmp_path}/out/../out/final"})

    with pytest.raises(SpecError, match=rf"{key}: .*Set output_dir to another folder"):
        trainer.train()
    with pytest.raises(SpecError, match=key):
        trainer.save_model(base)
    assert not committed(tmp_path / "out")
