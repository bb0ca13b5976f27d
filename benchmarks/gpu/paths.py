# SPDX-License-Identifier: Apache-2.0
"""Parts of the GPU check: what the machine is, and which scoring path, speed and memory each kind of training has."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.sizes import Record, Sizes, attempt, peak_bytes
from benchmarks.harness import hardware
from benchmarks.material import build_model, build_tokenizer
from benchmarks.sft import draw_rows
from tadrib.training.config import SFTConfig
from tadrib.training.data.group import Completion, Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.prepare import PreparedData
from tadrib.training.data.report.check import DataReport
from tadrib.training.sft_trainer import create_sft_trainer

_STEPS = 4
_ROWS = 64
KINDS: dict[str, dict[str, Any]] = {
    "LoRA": {"use_lora": True},
    "QLoRA": {"use_lora": True, "load_in_4bit": True},
    "full": {"use_lora": False},
}


def machine(sizes: Sizes) -> Iterator[Record]:
    yield {"case": "", "machine": hardware()}
    if sizes.device == "cpu" or importlib.util.find_spec("pytest") is None:
        yield {"case": "tests/gpu", "left out": "no GPU" if sizes.device == "cpu" else "no pytest"}
        return
    yield from attempt("tests/gpu", lambda: {"tests": _tests()})


def _tests() -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout[-1500:])
    return done.stdout.strip().splitlines()[-1]


def paths(sizes: Sizes) -> Iterator[Record]:
    """Each shape trained for a few steps: adapters, adapters over 4 bits, all weights; with checkpointing and without.

    The path is the start-up check's own choice, for this model on this GPU.
    """
    kinds = {name: kind for name, kind in KINDS.items() if name != "QLoRA" or _has_quantization()}
    if len(kinds) < len(KINDS):
        yield {"case": "QLoRA", "left out": "bitsandbytes is not installed"}
    for shape in sizes.shapes:
        with tempfile.TemporaryDirectory() as folder:
            _save(sizes, shape, Path(folder))
            for name, checkpointing in itertools.product(kinds, (False, True)):
                case = f"{shape}, {name}{', checkpointing' * checkpointing}"
                settings = {**kinds[name], "gradient_checkpointing": checkpointing}
                yield from attempt(case, lambda settings=settings: _train(sizes, Path(folder), settings))  # type: ignore[misc]


def _has_quantization() -> bool:
    return importlib.util.find_spec("bitsandbytes") is not None


def _save(sizes: Sizes, shape: str, folder: Path) -> None:
    """A random model of ``shape``, with a tokenizer of one word a token."""
    case = {"shape": shape, "layers": sizes.layers, "dtype": sizes.dtype, "device": sizes.device}
    build_model(case, "sdpa").save_pretrained(folder)  # type: ignore[operator]
    build_tokenizer().save_pretrained(folder)


def _rows(sizes: Sizes) -> PreparedData:
    """Rows of lognormal lengths, of which several fill a packed row."""
    length = sizes.tokens // 8
    drawn = draw_rows({"rows": _ROWS, "prompt": length, "response": length, "max_length": sizes.tokens // 2})
    groups = [
        Group(prompt, [Completion(response, "response")], row) for row, (prompt, response) in enumerate(drawn)
    ]
    report = DataReport("drawn", "sft", "drawn", _ROWS, _ROWS, bad_rows=0, max_bad_rows=0, place_unit="row")
    return PreparedData(GroupDataset.from_groups(groups), None, report)


def _train(sizes: Sizes, folder: Path, settings: dict[str, Any]) -> Record:
    config = SFTConfig(
        model_name=str(folder),
        output_dir=str(folder / "out"),
        torch_dtype=sizes.dtype,
        max_seq_length=sizes.tokens,
        per_device_train_batch_size=1,
        max_steps=_STEPS,
        logging_steps=_STEPS,
        evaluation_strategy="no",
        load_best_model_at_end=False,
        save_strategy="no",
        **settings,
    )
    trainer = create_sft_trainer(config, _rows(sizes))
    metrics = trainer.train()
    choice = trainer.get_trainer().path_choice
    if sizes.device == "cuda" and choice.path != "packed":
        raise RuntimeError(f"takes the {choice.path} path: {choice.slower}")
    logged = trainer.get_trainer().state.log_history[-2]
    found = {"path": choice.path, "difference": choice.difference, "loss": metrics["train_loss"]}
    return {**found, "tokens_per_second": logged["tokens_per_second"], "peak_bytes": peak_bytes()}
