# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.real_model FOLDER`: CPU seconds of a step of a model that people train, against stock TRL.

FOLDER holds the model, such as Gemma 3 270M with its tied vocabulary of 262,144 tokens (CONTRIBUTING.md says where it
comes from). Both sides are the trainer of the same config, on our engine and on TRL's, in float32, on the same rows in
the same micro-batches and unpacked; both compute DPO's reference in every step. Texts are words of the bundled data, as
many as chat data have: a prompt's median is 40 words and an answer's 30, with a long tail. CPU seconds are those of all
threads, so that what else the machine does counts little. The first step, which sets up, is left out.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.harness import compare, report
from benchmarks.material import draw_lengths

LORA = {"use_lora": True, "lora_target_modules": "all-linear", "lora_dropout": 0.0}
CASES: dict[str, dict] = {
    "SFT, LoRA": {"method": "sft", **LORA, "instruction_template": "alpaca"},
    "DPO, LoRA": {"method": "dpo", **LORA, "instruction_template": "plain", "reference": "adapter_off"},
    "SFT, full": {"method": "sft", "use_lora": False, "instruction_template": "alpaca"},
}
COLUMNS = {
    "sft": {"instruction": 40, "response": 30},
    "dpo": {"prompt": 40, "chosen": 30, "rejected": 30},
}
"""Median words of each column."""
BAR = 2.0
DATA = Path(__file__).parent.parent / "examples" / "data"


def main(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    runs: Annotated[int, typer.Option(help="Runs of each side; medians are compared.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads of each side.")] = 1,
    rows: Annotated[int, typer.Option(help="Rows of a step.")] = 4,
    steps: Annotated[int, typer.Option(help="Steps of a run, besides the first.")] = 3,
    only: Annotated[str, typer.Option(help="Run the cases whose name holds this text.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    shared = {
        "model_name": str(model.absolute()),
        "per_device_train_batch_size": rows,
        "max_steps": steps + 1,
    }
    ours, trl = "benchmarks.real_model:run_ours", "benchmarks.real_model:run_trl"
    compared = [
        compare(name, ours, trl, {**shared, **case}, runs=runs, threads=threads, bar=BAR)
        for name, case in CASES.items()
        if only.lower() in name.lower()
    ]
    report(compared, f"{model.name}: CPU seconds of a step of {rows} rows, TRL / ours", json_file)


def run_ours(case: dict) -> float:
    return _run(case, "tadrib")


def run_trl(case: dict) -> float:
    return _run(case, "trl")


def _run(case: dict, engine: str) -> float:
    from tadrib.training.config import METHODS
    from tadrib.training.trainers import create_trainer

    settings = dict(case)
    method = settings.pop("method")
    if method == "sft":
        settings["packing"] = False
    clock = CpuClock()
    with tempfile.TemporaryDirectory() as folder:
        config = METHODS[method].config(
            dataset_path=_rows(Path(folder), method, case["per_device_train_batch_size"] * case["max_steps"]),
            output_dir=folder,
            torch_dtype="float32",
            gradient_checkpointing=False,
            evaluation_strategy="no",
            load_best_model_at_end=False,
            save_strategy="no",
            callbacks=[clock],
            **settings,
        )
        create_trainer(method, config, engine=engine).train()
    return clock.seconds_a_step


def _rows(folder: Path, method: str, count: int) -> str:
    """A file of ``count`` rows, with the columns and lengths in words that `COLUMNS` says."""
    bundled = (DATA / f"{method}_train.jsonl").read_text(encoding="utf-8").splitlines()
    words = " ".join(str(text) for line in bundled for text in json.loads(line).values()).split()
    draw = random.Random(0)
    texts = {
        column: [" ".join(draw.choices(words, k=n)) for n in draw_lengths(count, median, 0.8, 400, seed)]
        for seed, (column, median) in enumerate(COLUMNS[method].items())
    }
    path = folder / "rows.jsonl"
    rows = (dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True))
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


class CpuClock(TrainerCallback):
    """CPU seconds of this process, from the end of the first step to the end of the last, by steps."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        now = time.process_time()
        if state.global_step == 1:
            self._began = now
        else:
            self.seconds_a_step = (now - self._began) / (state.global_step - 1)


if __name__ == "__main__":
    typer.run(main)
