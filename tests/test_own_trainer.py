# SPDX-License-Identifier: Apache-2.0
"""A trainer of one's own over `BaseTrainer`, and a prepared model in other hands than ours."""

import inspect
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM, Trainer, TrainingArguments

from tadrib.training.base_trainer import BaseTrainer
from tadrib.training.config import CommonConfig, SFTConfig
from tadrib.training.engine.policy import install_scoring
from tadrib.training.errors import SpecError
from tadrib.training.sft_trainer import create_sft_trainer
from tests.tiny import tiny_model, write_rows


def config(tmp_path, **changes) -> SFTConfig:
    return SFTConfig(
        **{
            "model_name": tiny_model(),
            "dataset_path": write_rows(tmp_path / "train.jsonl", "sft_train.jsonl", 12),
            "output_dir": str(tmp_path / "out"),
            "max_steps": 3,
            "max_seq_length": 256,
            "learning_rate": 2e-3,
            "gradient_checkpointing": False,
            "logging_steps": 1,
            **changes,
        }
    )


def sequences(trainer: BaseTrainer) -> list[dict]:
    """Rows as a plain causal language model takes them; the prompt is not learnt."""
    rows = []
    for group in trainer.load_and_validate_dataset().train:
        answer = group.completions[0].tokens
        rows.append(
            {"input_ids": group.prompt + answer, "labels": [-100] * len(group.prompt) + answer, "row": 1}
        )
    return rows


class PlainTrainer(BaseTrainer):
    """As in the guide: a subclass that says nothing but how its trainer is made."""

    def __init__(self, config):
        super().__init__(config)

    def create_trainer(self):
        arguments = TrainingArguments(
            output_dir=self.config.output_dir,
            max_steps=self.config.max_steps,
            per_device_train_batch_size=1,
            per_device_eval_batch_size=1,
            learning_rate=self.config.learning_rate,
            logging_steps=1,
            report_to="none",
            use_cpu=True,
            seed=3,
        )
        return Trainer(self.get_model(), arguments, train_dataset=sequences(self))


def test_a_subclass_with_a_plain_trainer_trains_as_transformers_does(tmp_path):
    ours = PlainTrainer(config(tmp_path, use_lora=False))
    ours.train()

    untouched = AutoModelForCausalLM.from_pretrained(tiny_model())
    theirs = Trainer(untouched, ours.trainer.args, train_dataset=sequences(ours))
    theirs.train()

    losses = [[row["loss"] for row in t.state.log_history if "loss" in row] for t in (ours.trainer, theirs)]
    assert len(losses[0]) == 3
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0][0] < 2 * math.log(untouched.config.vocab_size)
    assert ours.evaluate()["eval_loss"] < losses[0][0]
    assert (ours.save_model() / "model.safetensors").is_file()
    assert isinstance(ours.predict("ما عاصمة مصر؟", max_length=4), str)


def test_a_subclass_keeps_our_engine_with_lora(tmp_path):
    class Custom(BaseTrainer):
        def create_trainer(self):
            return self.build_group_trainer(
                lambda scores, batch: (-scores.mean(), {"loss": -scores.detach()})
            )

    custom = Custom(config(tmp_path))
    assert custom.method == "sft"
    assert custom.train()["train_loss"] > 0


def test_settings_of_no_method_are_refused_with_the_classes_that_have_one():
    with pytest.raises(
        SpecError, match=r"CommonConfig is not the settings of a method\. Use one of SFTConfig"
    ):
        PlainTrainer(CommonConfig())


def test_a_prepared_model_keeps_its_signatures_and_its_loss():
    prepared, plain = (AutoModelForCausalLM.from_pretrained(tiny_model()) for _ in range(2))
    install_scoring(prepared)
    ids = torch.tensor([[5, 6, 7, 8, 9]])

    assert inspect.signature(prepared.forward) == inspect.signature(plain.forward)
    assert "targets" not in inspect.signature(prepared.forward).parameters
    assert inspect.signature(prepared.generate) == inspect.signature(plain.generate)
    assert type(prepared) is Qwen2ForCausalLM
    with torch.no_grad():
        torch.testing.assert_close(prepared(ids, labels=ids).loss, plain(ids, labels=ids).loss)


@pytest.mark.parametrize("use_lora", [True, False])
def test_the_trained_model_generates_by_itself_as_a_plain_one(tmp_path, use_lora):
    trainer = create_sft_trainer(config(tmp_path, use_lora=use_lora, max_steps=2))
    trainer.train()
    assert not trainer.model.training, "with dropout on, every answer would be another"
    ids = trainer.tokenizer("ما عاصمة مصر؟", return_tensors="pt")

    answers = [trainer.model.generate(**ids, max_new_tokens=6, do_sample=False) for _ in range(2)]

    whole = trainer.model.merge_and_unload() if use_lora else trainer.model
    plain = AutoModelForCausalLM.from_pretrained(tiny_model())
    plain.load_state_dict(whole.state_dict())
    expected = plain.eval().generate(**ids, max_new_tokens=6, do_sample=False)
    assert answers[0].tolist() == answers[1].tolist() == expected.tolist()
