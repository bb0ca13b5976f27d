# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed strategies on two workers over gloo: the losses, checkpoints and models of DDP."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tadrib.training.config import METHODS
from tadrib.training.trainers import create_trainer
from tests.test_trajectories import assert_close, fields
from tests.tiny import tiny_model, write_rows
from tests.workers import run_workers

METHODS_AND_WEIGHTS = [("sft", "lora"), ("sft", "full"), ("dpo", "lora"), ("dpo", "full")]
STRATEGIES = ("ddp", "zero2", "zero3")
SAVED_AT = 4


def train(method: str, given: dict, resume_from: str | None = None) -> dict:
    trainer = create_trainer(method, METHODS[method].config(**given))
    before = trainer.evaluate()["eval_loss"] if resume_from is None else None
    trainer.train(resume_from_checkpoint=resume_from)
    losses = [row["loss"] for row in trainer.trainer.state.log_history if "loss" in row]
    found = {"losses": losses, "before": before, "after": trainer.evaluate()["eval_loss"]}
    if resume_from is None:
        found["answers"] = sorted(trainer.generate_comparison("ما عاصمة مصر؟", max_length=2).items())
        trainer.save_model()
    return found


def train_and_resume(cases: dict[str, tuple[str, dict]]) -> dict[str, list[dict]]:
    """Each case from its start and, but for DDP, from the checkpoint in its middle."""
    found = {}
    for name, (method, given) in cases.items():
        found[name] = [train(method, given)]
        if given["strategy"] != "ddp":
            middle = f"{given['output_dir']}/checkpoint-{SAVED_AT}"
            found[name].append(train(method, given, resume_from=middle))
    return found


def name_of(method: str, weights: str, strategy: str) -> str:
    return f"{method} {weights} {strategy}"


def case(folder: Path, method: str, weights: str, strategy: str) -> tuple[str, dict]:
    mine = folder / name_of(method, weights, strategy).replace(" ", "-")
    mine.mkdir()
    return method, fields(
        mine,
        method,
        strategy=strategy,
        use_lora=weights == "lora",
        eval_dataset_path=write_rows(mine / "eval.jsonl", f"{method}_heldout.jsonl", 6),
        evaluation_strategy="no",
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
        save_strategy="steps",
        save_steps=SAVED_AT,
        save_total_limit=10,
        max_steps=6,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[list[dict], Path]]:
    """Every case in one pair of processes: the first run and the resumed one, and the folder."""
    folder = tmp_path_factory.mktemp("strategies")
    cases = {
        name_of(method, weights, strategy): case(folder, method, weights, strategy)
        for method, weights in METHODS_AND_WEIGHTS
        for strategy in STRATEGIES
    }
    first, second = run_workers(2, train_and_resume, cases, folder=folder)
    assert first == second, "workers must agree on every number"
    return {name: (first[name], Path(cases[name][1]["output_dir"])) for name in cases}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
@pytest.mark.parametrize(("method", "weights"), METHODS_AND_WEIGHTS)
def test_a_strategy_trains_as_ddp_does(runs, method, weights, strategy):
    [found, _], _ = runs[name_of(method, weights, strategy)]
    [expected], _ = runs[name_of(method, weights, "ddp")]

    assert_close(found["losses"], expected["losses"], 1e-4)
    assert found["before"] == pytest.approx(expected["before"], abs=1e-4)
    assert found["after"] == pytest.approx(expected["after"], abs=1e-4)
    assert found["answers"] == expected["answers"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
@pytest.mark.parametrize(("method", "weights"), METHODS_AND_WEIGHTS)
def test_a_sharded_checkpoint_resumes_to_the_same_losses(runs, method, weights, strategy):
    [whole, resumed], _ = runs[name_of(method, weights, strategy)]

    assert_close(resumed["losses"], whole["losses"], 1e-6)
    assert resumed["after"] == pytest.approx(whole["after"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
@pytest.mark.parametrize(("method", "weights"), METHODS_AND_WEIGHTS)
def test_what_is_saved_is_a_plain_model_directory(runs, method, weights, strategy):
    found = log_probs(runs[name_of(method, weights, strategy)][1] / "final")
    expected = log_probs(runs[name_of(method, weights, "ddp")][1] / "final")

    assert found == pytest.approx(expected, abs=1e-4)


def log_probs(folder: Path) -> list[float]:
    """Of a fixed sequence, by transformers and peft alone."""
    assert not list(folder.glob("*.pt")) + list(folder.glob("*.bin"))
    model = AutoModelForCausalLM.from_pretrained(tiny_model()) if is_adapter(folder) else None
    model = (
        PeftModel.from_pretrained(model, folder) if model else AutoModelForCausalLM.from_pretrained(folder)
    )
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        scores = model(ids).logits.log_softmax(-1)
    return scores[0, :-1].gather(1, ids[0, 1:, None])[:, 0].tolist()


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_all_workers_shards_lie_in_one_committed_checkpoint(runs):
    _, folder = runs["sft full zero3"]

    names = {path.name for path in (folder / f"checkpoint-{SAVED_AT}" / f"global_step{SAVED_AT}").iterdir()}

    assert {f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in (0, 1)} <= names


def train_other_ways(cases: list[tuple[str, dict]]) -> list[dict]:
    return [train(*each) for each in cases]


@pytest.mark.slow
def test_one_process_offload_copied_references_and_recomputation_change_no_loss(tmp_path):
    own = {
        "zero_optimization": {"stage": 1},
        "optimizer": {"type": "AdamW", "params": {"lr": "auto", "weight_decay": "auto"}},
        "scheduler": {
            "type": "WarmupDecayLR",
            "params": {"warmup_num_steps": "auto", "total_num_steps": "auto"},
        },
    }
    others = [
        {"strategy": "ddp"},
        {"strategy": "zero3-offload", "optim": "adamw_torch_fused"},
        {"strategy": "zero3", "reference": "copy", "gradient_checkpointing": True},
        {"deepspeed": own, "reference": "cache"},
    ]
    given = case(tmp_path, "dpo", "full", "ddp")[1]

    [found] = run_workers(1, train_other_ways, [("dpo", given | each) for each in others], folder=tmp_path)

    for each in found[1:]:
        assert_close(each["losses"], found[0]["losses"], 1e-4)
