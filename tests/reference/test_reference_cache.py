# SPDX-License-Identifier: Apache-2.0
"""The reference cache: what is read is what was written for this very model, or is computed again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tadrib.training.reference.cache import ReferenceCache
from tadrib.training.trainers import create_trainer
from tests.test_preference_trainers import config
from tests.tiny import tiny_model

KEYS = [bytes([i]) * 32 for i in range(3)]
SCORES = [[-1.5], [-2.25, -3.0], [-0.125]]


def filled(folder: Path) -> tuple[ReferenceCache, Path]:
    cache = ReferenceCache(folder, "model")
    cache.write(KEYS, SCORES)
    [shard] = cache.folder.glob("*.parquet")
    return cache, shard


def damaged(content: bytes, harm: str) -> bytes:
    middle = len(content) // 2
    return {
        "empty": b"",
        "torn": content[:middle],
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "no Parquet": b"x" * len(content),
    }[harm]


def test_what_was_written_is_read(tmp_path):
    cache, _ = filled(tmp_path)
    assert cache.read() == dict(zip(KEYS, SCORES, strict=True))
    assert [path.suffix for path in cache.folder.iterdir()] == [".parquet"]


@pytest.mark.parametrize("harm", ["empty", "torn", "one bit", "no Parquet"])
def test_a_damaged_shard_is_dropped_and_said(tmp_path, caplog, harm):
    cache, shard = filled(tmp_path)
    cache.write([b"w" * 32], [[-7.0]])
    shard.write_bytes(damaged(shard.read_bytes(), harm))

    assert cache.read() == {b"w" * 32: [-7.0]}
    assert cache.read() == {b"w" * 32: [-7.0]}

    [said] = [record.getMessage() for record in caplog.records if record.name == "tadrib"]
    assert shard.name in said
    cache.write(KEYS, SCORES)
    assert cache.read() == {**dict(zip(KEYS, SCORES, strict=True)), b"w" * 32: [-7.0]}


@pytest.mark.parametrize("harm", ["empty", "one bit"])
def test_a_copy_of_the_store_that_was_damaged_is_fetched_again(tmp_path, monkeypatch, harm):
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path / "scratch"))
    cache, copy = filled(f"file://{tmp_path}/store")
    copy.write_bytes(damaged(copy.read_bytes(), harm))

    assert cache.read() == dict(zip(KEYS, SCORES, strict=True))
    assert (tmp_path / "store" / "model" / copy.name).read_bytes() == copy.read_bytes()


def test_a_shard_that_is_damaged_in_the_store_is_removed_there(tmp_path, monkeypatch):
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path / "scratch"))
    cache, copy = filled(f"file://{tmp_path}/store")
    copy.unlink()
    (tmp_path / "store" / "model" / copy.name).write_bytes(b"")

    assert cache.read() == {}
    assert not (tmp_path / "store" / "model" / copy.name).exists()


def test_training_computes_again_what_was_damaged(tmp_path):
    given = config(tmp_path, "dpo", reference="cache", max_steps=1, num_train_epochs=1)

    def first_loss() -> float:
        trainer = create_trainer("dpo", given)
        trainer.train()
        return trainer.trainer.state.log_history[0]["loss"]

    expected = first_loss()
    [folder] = (tmp_path / "out" / "reference-cache").iterdir()
    [shard] = folder.iterdir()
    whole = shard.read_bytes()
    shard.write_bytes(b"")

    assert first_loss() == expected == pytest.approx(0.6931, abs=1e-4)
    assert [path.read_bytes() for path in folder.iterdir()] == [whole]


def test_another_configuration_of_the_same_weights_is_another_reference(tmp_path):
    """Ten times the rotary base: other log-probs, so step 1 is log 2 only with scores of its own."""
    model = Path(shutil.copytree(tiny_model(), tmp_path / "model"))
    given = config(tmp_path, "dpo", reference="cache", max_steps=1, model_name=str(model))
    create_trainer("dpo", given).train()
    (model / "README.md").write_text("notes decide nothing")
    create_trainer("dpo", given).train()
    assert len(list((tmp_path / "out" / "reference-cache").iterdir())) == 1
    file = model / "config.json"
    values = json.loads(file.read_text())
    values["rope_parameters"]["rope_theta"] /= 1000
    file.write_text(json.dumps(values))

    trainer = create_trainer("dpo", given)
    trainer.train()

    assert trainer.trainer.state.log_history[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert len(list((tmp_path / "out" / "reference-cache").iterdir())) == 2
