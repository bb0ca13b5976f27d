# SPDX-License-Identifier: Apache-2.0
"""A saved model can be read by whom the umask lets read, whatever the library that wrote it."""

import multiprocessing as mp
import os
import stat
import tempfile
from pathlib import Path

import pytest

from tadrib.training.config import SFTConfig
from tadrib.training.errors import SpecError
from tadrib.training.model.load import load_model
from tadrib.training.sft_trainer import create_sft_trainer
from tadrib.training.tiny.model import build_tiny_model
from tests.tiny import tiny_model, write_rows


def modes(folder) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("use_lora", [True, False])
def test_checkpoints_and_final_weights_follow_the_umask(tmp_path, use_lora):
    rows = write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 16)
    trainer = create_sft_trainer(
        SFTConfig(
            model_name=tiny_model(),
            dataset_path=rows,
            output_dir=str(tmp_path / "out"),
            use_lora=use_lora,
            torch_dtype="float32",
            gradient_checkpointing=False,
            max_steps=1,
            save_steps=1,
        )
    )
    trainer.train()
    final = trainer.save_model(tmp_path / "final")

    expected = 0o666 & ~_umask()
    assert modes(final) == {expected}
    assert (tmp_path / "out/checkpoint-1").is_dir()
    weights = next((tmp_path / "out/checkpoint-1").glob("*model.safetensors"))
    assert stat.S_IMODE(weights.stat().st_mode) == expected


def test_a_tiny_model_follows_the_umask(tmp_path):
    assert modes(build_tiny_model(tmp_path / "tiny")) == {0o666 & ~_umask()}


def say_why_it_cannot_be_loaded(folder: str, said) -> None:
    """As a user other than root, who may read everything."""
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        load_model(SFTConfig(model_name=folder, dataset_path="x.jsonl"))
        said.put("loaded")
    except SpecError as error:
        said.put(str(error))


def test_a_model_that_may_not_be_read_is_named_with_the_way_out():
    with tempfile.TemporaryDirectory() as parent:  # pytest's own are closed to other users
        os.chmod(parent, 0o755)
        folder = build_tiny_model(Path(parent) / "tiny")
        (folder / "model.safetensors").chmod(0)
        context = mp.get_context("fork")
        said = context.Queue()
        process = context.Process(target=say_why_it_cannot_be_loaded, args=(str(folder), said))
        process.start()
        text = said.get(timeout=60)
        process.join()

    assert "has no permission to read model.safetensors" in text
    assert f"chmod -R a+rX {folder}" in text


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
