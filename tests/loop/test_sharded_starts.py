# SPDX-License-Identifier: Apache-2.0
"""DPO that starts from an SFT adapter, on two workers under every strategy: the numbers of one process alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tadrib.training.config import DPOConfig
from tadrib.training.engine.gathering import full_state_dict
from tadrib.training.errors import SpecError
from tadrib.training.model.starting_adapter import LowRank
from tadrib.training.reference.cache import ReferenceCache
from tadrib.training.trainers import create_trainer
from tests.adapters.test_starting_points import opened, sft
from tests.test_trajectories import assert_close, fields
from tests.tiny import tiny_model
from tests.workers import run_workers

pytestmark = pytest.mark.slow
LORA = {"reference": "adapter_off"}
CACHED = {"reference": "cache"}
MERGED = {"use_lora": False, "reference": "copy"}
ALONE = {"carried": CACHED, "merged": MERGED}
TOGETHER = {
    "carried ddp, cached reference": CACHED,
    "carried zero2": LORA | {"strategy": "zero2"},
    "carried zero3": LORA | {"strategy": "zero3"},
    "merged zero2": MERGED | {"strategy": "zero2"},
}
"""What two workers do; the first word says which run of one process has the same numbers."""


def train(way: dict) -> dict:
    """The losses; of the parts of the start how many there are, which have moved, and how many could learn."""
    trainer = create_trainer("dpo", DPOConfig(**way))
    trainer.get_trainer()
    before = _start(trainer.model)
    trainer.train()
    after = _start(trainer.model)
    trainer.save_model()
    parts = [
        p for module in trainer.model.modules() if isinstance(module, LowRank) for p in module.parameters()
    ]
    return {
        "losses": [row["loss"] for row in trainer.trainer.state.log_history if "loss" in row],
        "moved": [name for name in before if not torch.equal(before[name], after[name])],
        "parts": len(before),
        "learnt": sum(p.requires_grad or p.grad is not None for p in parts),
    }


def _start(model) -> dict[str, torch.Tensor]:
    return {name: each for name, each in full_state_dict(model).items() if ".start." in name}


def train_each(ways: dict[str, dict], refused: dict) -> dict[str, dict | str]:
    found: dict[str, dict | str] = {name: train(way) for name, way in ways.items()}
    with pytest.raises(SpecError) as error:
        create_trainer("dpo", DPOConfig(**refused)).get_trainer()
    return found | {"refused": str(error.value)}


def given(folder: Path, changes: dict, workers: int) -> dict:
    folder.mkdir()
    size = {"max_steps": 5, "per_device_train_batch_size": 4 // workers, "learning_rate": 3e-3}
    return fields(folder, "dpo", model_name=sft(True), **size, **changes)


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> dict[str, tuple[dict, Path]]:
    """Each in one pair of processes: what it found, and its folder."""
    folder = tmp_path_factory.mktemp("two")
    ways = {name: given(folder / str(i), TOGETHER[name], 2) for i, name in enumerate(TOGETHER)}
    refused = given(folder / "refused", MERGED | {"strategy": "zero3"}, 2)
    first, second = run_workers(2, train_each, ways, refused, folder=folder)
    assert first == second, "workers must agree on every number"
    assert "is an adapter, which cannot be merged into a model that zero3 partitions" in first["refused"]
    return {name: (first[name], Path(way["output_dir"])) for name, way in ways.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, tuple[dict, Path]]:
    """The same in this one process."""
    folder = tmp_path_factory.mktemp("one")
    ways = {kind: given(folder / kind, changes, 1) for kind, changes in ALONE.items()}
    return {kind: (train(way), Path(way["output_dir"])) for kind, way in ways.items()}


@pytest.mark.parametrize("name", TOGETHER)
def test_the_first_loss_is_log_2_and_the_others_those_of_one_process(together, alone, name):
    found, expected = together[name][0], alone[name.split()[0]][0]

    assert found["losses"][0] == pytest.approx(math.log(2), abs=1e-5)
    assert_close(found["losses"], expected["losses"], 1e-4)


@pytest.mark.parametrize("name", TOGETHER)
def test_what_training_started_from_stays_and_has_no_gradient(together, name):
    found = together[name][0]

    assert found["parts"] == (0 if name.startswith("merged") else 2 * 2 * 4), (
        "down and up of two layers in four blocks"
    )
    assert (found["moved"], found["learnt"]) == ([], 0)


@pytest.mark.parametrize("name", TOGETHER)
def test_final_opens_in_plain_libraries_as_that_of_one_process(together, alone, name):
    final, expected = (each / "final" for each in (together[name][1], alone[name.split()[0]][1]))

    assert opened(final) == pytest.approx(opened(expected), abs=1e-3)
    assert abs(opened(final) - opened(sft(True))) > 0.01
    if not name.startswith("merged"):
        settings = json.loads((final / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == tiny_model()
        start = load_file(Path(sft(True)) / "adapter_model.safetensors")
        state = load_file(final / "adapter_model.safetensors")
        for key, each in start.items():
            torch.testing.assert_close(state[key][:, :16] if "lora_B" in key else state[key][:16], each)


def scores(output: Path) -> dict[bytes, list[float]]:
    [folder] = (output / "reference-cache").iterdir()
    return ReferenceCache(output / "reference-cache", folder.name).read()


def test_two_workers_cache_the_reference_of_one(together, alone):
    output = together["carried ddp, cached reference"][1]
    found, expected = scores(output), scores(alone["carried"][1])

    assert len(found) == 20
    assert found.keys() == expected.keys()
    for key, each in expected.items():
        assert found[key] == pytest.approx(each, abs=1e-3)
    assert len(list((output / "reference-cache").glob("*/*.parquet"))) == 2, "each worker scored a share"
