# SPDX-License-Identifier: Apache-2.0
"""A mixture of experts whose config.json asks for its load-balancing loss trains with it, and no other does."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tadrib.training.config import SFTConfig
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.prepare import PreparedData
from tadrib.training.engine.collate import collate
from tadrib.training.engine.policy import set_scoring_path
from tadrib.training.errors import SpecError
from tadrib.training.trainers import create_trainer
from tadrib.training.trl_engine.engine import create_trl_trainer
from tests.architectures.families import build
from tests.parity.builders import assert_equal, build_rows, compute, model_folder, settings
from tests.workers import run_workers

COEFFICIENT = 0.25
ONE_ROW = [9]


def folder_of(tmp_path: Path, family: str = "Qwen3-MoE", **changes) -> str:
    """A tiny model on disk whose config.json was edited by hand, with the tokenizer of the parity tests."""
    folder = tmp_path / "model"
    build(family).save_pretrained(folder)
    for file in Path(model_folder("qwen2")).glob("token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    written = folder / "config.json"
    asked = {"output_router_logits": True, "router_aux_loss_coef": COEFFICIENT, **changes}
    written.write_text(json.dumps(json.loads(written.read_text()) | asked))
    return str(folder)


def config(tmp_path: Path, method: str = "sft", *, lora: bool = False, **changes):
    model = changes.pop("model_name", None) or folder_of(tmp_path)
    targets = ["q_proj", "v_proj"]
    return settings(
        method, "qwen2", tmp_path / "out", lora, model_name=model, lora_target_modules=targets, **changes
    )


def on(config, rows, create=create_trainer):
    method = "sft" if isinstance(config, SFTConfig) else "dpo"
    groups = GroupDataset.from_groups(rows)
    return create(method, config, PreparedData(groups, groups, report=None))


def silent(model_name: str) -> str:
    """The same model whose config.json does not ask."""
    path = Path(model_name) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"output_router_logits": False}))
    return model_name


@pytest.mark.parametrize("family", ["Qwen3-MoE", "Mixtral", "OLMoE", "GPT-OSS", "Jamba"])
def test_the_loss_of_one_row_is_that_of_transformers_own_forward(tmp_path, family):
    """``loss = -mean log p(response) + coefficient * balance``, as the model's own forward with labels computes it."""
    model_name = folder_of(tmp_path, family)
    [row] = rows = build_rows(["response"], prompts=ONE_ROW)
    ids = torch.tensor([[*row.prompt, *row.completions[0].tokens]])
    labels = ids.clone()
    labels[:, : len(row.prompt)] = -100
    theirs = AutoModelForCausalLM.from_pretrained(model_name)(input_ids=ids, labels=labels)

    trainer = on(config(tmp_path, model_name=model_name), rows)
    ours = compute(trainer, step=0.0)

    assert theirs.aux_loss > 0.5
    assert ours.loss == pytest.approx(theirs.loss.item(), abs=1e-5)
    assert trainer.trainer._meter.drain()["aux_loss"] == pytest.approx(theirs.aux_loss.item(), abs=1e-5)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_gradients_are_those_of_the_sum_with_and_without_checkpointing(tmp_path, lora):
    """In LoRA the routers are frozen, and adapters below them are trained to balance what they see."""
    rows = build_rows(["response"], prompts=ONE_ROW)
    model_name = folder_of(tmp_path)
    plain, checkpointed = (
        compute(on(config(tmp_path, lora=lora, model_name=model_name, gradient_checkpointing=kept), rows))
        for kept in (False, True)
    )
    without = compute(on(config(tmp_path, lora=lora, model_name=silent(model_name)), rows))

    assert_equal(plain, checkpointed)
    part = "gate" if not lora else "lora_A"
    names = [name for name in plain.gradients if f".{part}." in name]
    moved = [(plain.gradients[name] - without.gradients[name]).norm() for name in names]
    assert min(moved) > 1e-5


def test_paths_agree_and_padding_is_left_out(tmp_path):
    """Rows of unequal lengths, which only the separate path pads."""
    model = on(config(tmp_path), build_rows(["response"])).get_trainer().model
    groups = build_rows(["response"])
    found = {}
    for path in ("packed", "dense", "separate"):
        set_scoring_path(model, path)
        found[path] = model(**collate(groups, path=path).model_inputs(), with_router_loss=True)

    separate = collate(groups, path="separate")
    assert separate.num_tokens < separate.input_ids.numel()
    for path in ("packed", "dense"):
        torch.testing.assert_close(found[path][0], found["separate"][0], atol=1e-5, rtol=0)
        torch.testing.assert_close(found[path][1], found["separate"][1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("packing", "dealt"), [(False, [(1, 1.0), (2, 1.0)]), (True, [(3, 1.0), (1, 0.0)])])
def test_a_step_takes_the_mean_over_rows_of_what_its_micro_batches_have(tmp_path, packing, dealt):
    """Three rows in micro-batches of one and two: ``(a + 2 b) / 3``, in the loss and in metrics. Packed into one,
    they leave the other micro-batch a stand-in, which adds nothing: ``a``."""
    rows = build_rows(["response"], prompts=[9, 4, 6])
    batched = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "packing": packing}
    trainer = on(config(tmp_path, **batched), rows).get_trainer()
    trainer.model.eval()
    batches = list(trainer.get_train_dataloader())
    assert [(len(b.rows), b.weight) for b in batches] == dealt
    balance = likelihood = 0.0
    for batch in batches:
        log_probs, its_balance = trainer.model(**batch.model_inputs(), with_router_loss=True)
        balance += batch.weight * len(batch.rows) * its_balance.item() / 3
        likelihood += batch.weight * log_probs.sum().item() / batch.step.targets

    loss = sum(trainer.compute_loss(trainer.model, batch).item() for batch in batches)

    assert loss == pytest.approx(COEFFICIENT * balance - likelihood, abs=1e-5)
    assert trainer._meter.drain()["aux_loss"] == pytest.approx(balance, abs=1e-6)


def trained(model_name: str, folder: str, micro_batches: int) -> list[dict[str, float]]:
    """What two steps of two rows log."""
    made = config(
        Path(folder),
        model_name=model_name,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=micro_batches,
        packing=False,
        max_steps=2,
        logging_steps=1,
    )
    trainer = on(made, build_rows(["response"], prompts=[9, 4, 6, 2]))
    trainer.train()
    names = ("loss", "aux_loss", "grad_norm")
    return [{name: row[name] for name in names} for row in trainer.trainer.state.log_history if "loss" in row]


def test_two_workers_train_as_one_that_takes_their_rows_in_turn(tmp_path):
    model_name = folder_of(tmp_path)
    one = trained(model_name, str(tmp_path), 2)
    both = run_workers(2, trained, model_name, str(tmp_path), 1, folder=tmp_path)

    for step, expected in enumerate(one):
        assert expected["loss"] > COEFFICIENT * expected["aux_loss"] > 0.1
        for worker in both:
            assert worker[step] == pytest.approx(expected, rel=1e-4)


def test_preferences_are_trained_with_it_and_evaluated_without(tmp_path):
    model_name = folder_of(tmp_path)
    rows = build_rows(["chosen", "rejected"])
    found = {}
    for asked in (True, False):
        trainer = on(config(tmp_path, "dpo", model_name=model_name if asked else silent(model_name)), rows)
        loss = compute(trainer, step=0.0).loss
        metrics = trainer.trainer._meter.drain()
        found[asked] = (
            loss,
            metrics.get("aux_loss"),
            trainer.evaluate()["eval_loss"],
        )

    assert found[False][0] == pytest.approx(math.log(2), abs=1e-6)  # the policy is its own reference
    assert found[False][1] is None
    assert found[True][0] == pytest.approx(math.log(2) + COEFFICIENT * found[True][1], abs=1e-5)
    assert found[True][2] == found[False][2] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "not-asked"])
def test_trl_trains_and_evaluates_alike_and_leaves_the_config_as_it_was(tmp_path, asked):
    model_name = folder_of(tmp_path)
    model_name = model_name if asked else silent(model_name)
    rows = build_rows(["response"])
    made = config(tmp_path, model_name=model_name, per_device_eval_batch_size=len(rows))
    ours, theirs = on(made, rows), on(made, rows, create_trl_trainer)

    assert_equal(compute(ours), compute(theirs))
    held_out = ours.evaluate(), theirs.evaluate()
    for name in ("eval_loss", "eval_perplexity"):
        assert held_out[0][name] == pytest.approx(held_out[1][name], rel=1e-5)
    assert theirs.model.config.router_aux_loss_coef == COEFFICIENT
    assert theirs.model.config.output_router_logits is asked


def test_no_other_model_trains_with_it(tmp_path):
    """transformers' default asks for nothing, whatever the coefficient; one of 0 asks for nothing either."""
    rows = build_rows(["response"], prompts=ONE_ROW)
    for changes in ({"output_router_logits": False}, {"router_aux_loss_coef": 0.0}):
        trainer = on(config(tmp_path, model_name=folder_of(tmp_path, **changes)), rows)
        compute(trainer)
        assert "aux_loss" not in trainer.trainer._meter.drain()


@pytest.mark.parametrize(
    ("family", "why"),
    [
        (
            "DeepSeek V3",
            "DeepseekV3ForCausalLM has no load_balancing_loss_func(gate_logits, num_experts, top_k",
        ),
        ("Granite 4 (attention only)", "GraniteMoeHybridForCausalLM returns no router logits"),
    ],
)
def test_a_model_that_cannot_compute_it_is_refused_by_name(tmp_path, family, why):
    trainer = on(config(tmp_path, model_name=folder_of(tmp_path, family)), build_rows(["response"]))
    with pytest.raises(SpecError) as refused:
        trainer.get_trainer()

    [problem] = refused.value.problems
    assert problem.where == "model_name"
    assert str(tmp_path / "model") in problem.message
    assert why in problem.message
    assert "output_router_logits: true" in problem.message
    assert problem.action == "Set output_router_logits: false in that config.json to train without this loss."
