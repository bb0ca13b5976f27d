# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.sft`: one epoch of SFT against TRL's SFTTrainer, same rows, model, dtype and threads.

Rows are a prompt and a response of lognormal lengths; the loss is on the response on both sides. Gradient
checkpointing is off. TRL runs once padded and once with ``packing=True``; we pack in both.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness import compare, report
from benchmarks.material import (
    Clock,
    build_model,
    build_tokenizer,
    draw_lengths,
    draw_tokens,
    lora_config,
    training_arguments,
)

CASE = {"rows": 48, "layers": 4, "prompt": 80, "response": 120, "max_length": 512, "batch": 4, "lora": True}
LEARNING_RATE = 1e-4


def main(
    runs: Annotated[int, typer.Option(help="Runs of each side; medians are compared.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads of each side.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
) -> None:
    ours = "benchmarks.sft:run_ours"
    rows = []
    for kind, lora in (("LoRA", True), ("full", False)):
        for peer, packing, bar in (("padded", False, 1.5), ("packed", True, 1.2)):
            case = {**CASE, "lora": lora, "packing": packing}
            rows.append(
                compare(
                    f"SFT {kind}, TRL {peer}",
                    ours,
                    "benchmarks.sft:run_trl",
                    case,
                    runs=runs,
                    threads=threads,
                    bar=bar,
                )
            )
    report(rows, "SFT: seconds of one epoch, TRL / ours", json_file)


def draw_rows(case: dict) -> list[tuple[list[int], list[int]]]:
    """(prompt, response) token ids of each row."""
    prompts = draw_lengths(case["rows"], case["prompt"], 0.7, case["max_length"] // 2, seed=1)
    responses = draw_lengths(case["rows"], case["response"], 0.8, case["max_length"] // 2, seed=2)
    return [
        (draw_tokens(p, seed=i), draw_tokens(r, seed=10_000 + i))
        for i, (p, r) in enumerate(zip(prompts, responses, strict=True))
    ]


def run_ours(case: dict) -> float:
    from peft import get_peft_model

    from tadrib.training.data.group import Completion, Group
    from tadrib.training.data.group_dataset import GroupDataset
    from tadrib.training.engine import attention
    from tadrib.training.engine.policy import install_scoring
    from tadrib.training.loop.group_trainer import GroupTrainer
    from tadrib.training.losses.sft import sft_loss

    groups = [
        Group(prompt, [Completion(response, "response")], row)
        for row, (prompt, response) in enumerate(draw_rows(case))
    ]
    model = build_model(case, attention.NAME)
    install_scoring(model)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        GroupTrainer(
            objective=lambda log_probs, batch: sft_loss(log_probs, batch.step.targets),
            groups=GroupDataset.from_groups(groups),
            bin_tokens=case["max_length"],
            model=get_peft_model(model, lora_config()) if case["lora"] else model,
            args=training_arguments(folder, case, learning_rate=LEARNING_RATE),
            callbacks=[clock],
        ).train()
    return clock.seconds


def run_trl(case: dict) -> float:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"input_ids": prompt + response, "completion_mask": [0] * len(prompt) + [1] * len(response)}
        for prompt, response in draw_rows(case)
    ]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        SFTTrainer(
            model=build_model(case, case.get("peer_attention", "sdpa")),
            args=training_arguments(
                folder,
                case,
                kind=SFTConfig,
                learning_rate=LEARNING_RATE,
                max_length=case["max_length"],
                packing=case["packing"],
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=build_tokenizer(),
            peft_config=lora_config() if case["lora"] else None,
            callbacks=[clock],
        ).train()
    return clock.seconds


if __name__ == "__main__":
    typer.run(main)
