# SPDX-License-Identifier: Apache-2.0
"""A part of the GPU check: the demo's model and rows, trained for a minute in this process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.gpu.sizes import Record, Sizes, attempt, peak_bytes

_DATA = Path(__file__).parents[2] / "examples" / "data"


class _Until(TrainerCallback):
    """Ends training after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_training_stop = time.monotonic() >= self._end


def demo(sizes: Sizes) -> Iterator[Record]:
    with tempfile.TemporaryDirectory() as folder:
        yield from attempt("SFT of the bundled rows", lambda: _train(sizes, Path(folder)))


def _train(sizes: Sizes, folder: Path) -> Record:
    from tadrib.training.config import SFTConfig
    from tadrib.training.sft_trainer import create_sft_trainer
    from tadrib.training.tiny.model import build_tiny_model

    held_out = (_DATA / "sft_heldout.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "heldout.jsonl").write_text("".join(held_out[: sizes.demo_rows]), encoding="utf-8")
    config = SFTConfig(
        model_name=str(build_tiny_model(folder / "model")),
        dataset_path=str(_DATA / "sft_train.jsonl"),
        eval_dataset_path=str(folder / "heldout.jsonl"),
        output_dir=str(folder / "out"),
        instruction_template="tokenizer",
        use_lora=False,
        learning_rate=2e-3,
        num_train_epochs=100,
        max_seq_length=320,
        gradient_checkpointing=False,
        eval_steps=10**6,
        load_best_model_at_end=False,
        save_strategy="no",
        callbacks=[_Until(sizes.demo_seconds)],
    )
    trainer = create_sft_trainer(config)
    before = trainer.evaluate()["eval_perplexity"]
    trainer.train()
    after = trainer.evaluate()["eval_perplexity"]
    state = trainer.get_trainer().state
    return {
        "steps": state.global_step,
        "perplexity before": before,
        "after": after,
        "peak_bytes": peak_bytes(),
    }
