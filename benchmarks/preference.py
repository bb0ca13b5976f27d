# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.preference`: preference training against stock TRL, same rows, model, dtype and threads.

Both sides train LoRA adapters with the reference taken by switching the adapters off, in float32 and with gradient
checkpointing off unless asked for. Rows have the lengths named, drawn within a quarter of them. The ideal ratio counts
tokens: ``sum (P + c_i)`` over a row's sequences against ``P + sum c_i``, both sides unpadded; the efficiency is the
ratio over it, and above 1 where we save more than tokens.

``--device cuda`` takes the whole depth of SmolLM2-135M, sixteen steps and the peak of GPU memory. It has not been run
yet: the figures in ``results/`` are of CPUs, and the bars are for one CPU step in float32.
"""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
import typer

from benchmarks.harness import Row, compare, report
from benchmarks.material import (
    Clock,
    build_model,
    build_tokenizer,
    draw_tokens,
    lora_config,
    training_arguments,
)

if TYPE_CHECKING:
    from datasets import Dataset

CASES: dict[str, dict] = {
    "DPO, prompt 256, answers 128": {"method": "dpo", "prompt": 256, "answer": 128, "bar": 2.0},
    "DPO, UltraFeedback-like, 121 / 288": {"method": "dpo", "prompt": 121, "answer": 288, "bar": 1.5},
    "DPO, TLDR-like, 382 / 34": {"method": "dpo", "prompt": 382, "answer": 34, "bar": 3.0},
    "KTO, 128 / 128": {"method": "kto", "prompt": 128, "answer": 128, "bar": 2.0},
    "SimPO, 256 / 128": {"method": "simpo", "prompt": 256, "answer": 128, "bar": 2.5},
    "CPO, one chosen and 3 rejected, 256 / 96": {
        "method": "cpo",
        "prompt": 256,
        "answer": 96,
        "negatives": 3,
        "bar": 4.5,
    },
}
COMMON = {"batch": 4, "negatives": 1}
SIZES = {"cpu": {"rows": 4, "layers": 4}, "cuda": {"rows": 64, "layers": 30}}


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


class Dtype(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"


def main(
    runs: Annotated[int, typer.Option(help="Runs of each side; medians are compared.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads of each side.")] = 2,
    checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="On, on both sides; the bars are for off.")
    ] = False,
    device: Annotated[Device, typer.Option(help="Where both sides run.")] = Device.cpu,
    dtype: Annotated[Dtype, typer.Option(help="Weights of both sides; bfloat16 computes under autocast.")] = (
        Dtype.float32
    ),
    only: Annotated[str, typer.Option(help="Run the cases whose name holds this text.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
) -> None:
    _require(device)
    common = {**COMMON, **SIZES[device], "device": device, "dtype": dtype, "checkpointing": checkpointing}
    has_bars = device == "cpu" and dtype == "float32" and not checkpointing
    rows = []
    for name, case in CASES.items():
        if only.lower() in name.lower():
            rows.append(
                compare(
                    name,
                    "benchmarks.preference:run_ours",
                    "benchmarks.preference:run_trl",
                    {**common, **case},
                    runs=runs,
                    threads=threads,
                    bar=case["bar"] if has_bars else None,
                    ideal=ideal_ratio(case),
                )
            )
    if not only and not checkpointing:
        rows.append(_cached_against_simpo(common, runs, threads))
    title = f"Preference training on {device} in {dtype}: seconds of the same steps, TRL / ours"
    report(rows, f"{title}{', gradient checkpointing on both sides' if checkpointing else ''}", json_file)


def _require(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("this machine has no CUDA device.", param_hint="--device")


def _cached_against_simpo(common: dict, runs: int, threads: int) -> Row:
    """DPO with a cached reference does what SimPO does; the peer here is our own SimPO."""
    case = {**common, **CASES["DPO, prompt 256, answers 128"], "cached": True}
    ours, simpo = "benchmarks.preference:run_ours", "benchmarks.preference:run_simpo"
    return compare(
        "our SimPO / our DPO with a cached reference", ours, simpo, case, runs=runs, threads=threads, bar=0.95
    )


def ideal_ratio(case: dict) -> float:
    """Tokens of TRL's sequences over those of one shared prompt; KTO's six forward-units over ours are left out."""
    prompt, answer, negatives = case["prompt"], case["answer"], case.get("negatives", 1)
    sequences = 2 * negatives if case["method"] != "kto" else 2
    shared = prompt + (2 if case["method"] == "kto" else 1 + negatives) * answer
    return sequences * (prompt + answer) / shared


def draw_rows(case: dict) -> list[tuple[list[int], list[list[int]]]]:
    """(prompt, answers) token ids of each row: one answer for KTO, else the chosen one and its negatives."""
    generator = np.random.default_rng(0)

    def tokens(length: int) -> list[int]:
        return draw_tokens(
            int(generator.integers(length * 3 // 4, length * 5 // 4)), seed=int(generator.integers(2**31))
        )

    answers = 1 if case["method"] == "kto" else 1 + case["negatives"]
    return [
        (tokens(case["prompt"]), [tokens(case["answer"]) for _ in range(answers)])
        for _ in range(case["rows"])
    ]


def run_ours(case: dict) -> float:
    from peft import get_peft_model

    from tadrib.training.config import METHODS
    from tadrib.training.data.blocks.index import index_table
    from tadrib.training.data.group import Completion, Group
    from tadrib.training.data.group_dataset import GroupDataset
    from tadrib.training.data.selection import Selection
    from tadrib.training.engine import attention
    from tadrib.training.engine.policy import install_scoring
    from tadrib.training.engine.reference_scorer import ADAPTERS_OFF
    from tadrib.training.loop.group_trainer import GroupTrainer
    from tadrib.training.preference_trainer import PreferenceTrainer
    from tadrib.training.trainers import create_trainer

    method = case["method"]
    roles = ["completion"] if method == "kto" else ["chosen", *["rejected"] * case["negatives"]]
    groups = [
        Group(
            prompt,
            [Completion(a, role) for a, role in zip(answers, roles, strict=True)],
            row,
            label=row % 2 == 0,
        )
        for row, (prompt, answers) in enumerate(draw_rows(case))
    ]
    dataset = GroupDataset.from_groups(groups)
    if method == "kto":
        selection = Selection.of(index_table([(0, 0, True)] * len(groups), groups))
        dataset = selection.judged_dataset(dataset.blocks, seed=0, longest=4096)
    if case.get("cached"):
        dataset = dataset.with_reference([[-100.0] * len(group.completions) for group in dataset])
    model = build_model(case, attention.NAME)
    install_scoring(model)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        config = METHODS[method].config(output_dir=folder)
        trainer = cast(PreferenceTrainer, create_trainer(method, config))
        GroupTrainer(
            objective=trainer.objective,
            baseline=trainer.baseline,
            reference=ADAPTERS_OFF if method in ("dpo", "kto") else None,
            groups=dataset,
            bin_tokens=None,
            model=get_peft_model(model, lora_config()),
            args=training_arguments(folder, case, gradient_checkpointing=case["checkpointing"]),
            callbacks=[clock],
        ).train()
    return clock.seconds


def run_simpo(case: dict) -> float:
    return run_ours({**case, "method": "simpo", "cached": False})


def run_trl(case: dict) -> float:
    method = case["method"]
    trainer_class, config_class, settings = _trl_classes(method)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer_class(
            model=build_model(case, case.get("peer_attention", "sdpa")),
            args=training_arguments(
                folder,
                case,
                kind=config_class,
                per_device_train_batch_size=case["batch"]
                * case["negatives"],  # TRL's rows are pairs, ours are groups
                gradient_checkpointing=case["checkpointing"],
                max_length=4096,
                **settings,
            ),
            train_dataset=_trl_rows(case),
            processing_class=build_tokenizer(),
            peft_config=lora_config(),
            callbacks=[clock],
        ).train()
    return clock.seconds


def _trl_classes(method: str) -> tuple[type, type, dict]:
    if method == "dpo":
        from trl import DPOConfig, DPOTrainer

        return DPOTrainer, DPOConfig, {}
    if method == "kto":
        from trl import KTOConfig, KTOTrainer

        return KTOTrainer, KTOConfig, {}
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return (
        CPOTrainer,
        CPOConfig,
        {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0}
        if method == "simpo"
        else {},
    )


def _trl_rows(case: dict) -> Dataset:
    """Rows as text of one word a token, for trainers that insist on tokenizing: the tokens are those of our side."""
    from datasets import Dataset

    def text(tokens: list[int]) -> str:
        return "".join(f" t{i}" for i in tokens)

    rows = []
    for number, (prompt, answers) in enumerate(draw_rows(case)):
        if case["method"] == "kto":
            rows.append({"prompt": text(prompt), "completion": text(answers[0]), "label": number % 2 == 0})
            continue
        rows += [
            {"prompt": text(prompt), "chosen": text(answers[0]), "rejected": text(a)} for a in answers[1:]
        ]
    return Dataset.from_list(rows)


if __name__ == "__main__":
    typer.run(main)
