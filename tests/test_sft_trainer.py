# SPDX-License-Identifier: Apache-2.0
"""The public API as a notebook uses it, for SFT."""

import math

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, EarlyStoppingCallback, TrainerCallback

from tadrib.training.config import SFTConfig
from tadrib.training.errors import SpecError
from tadrib.training.sft_trainer import SFTTrainer, create_sft_trainer
from tests.tiny import tiny_model, write_rows


def config(tmp_path, **changes) -> SFTConfig:
    return SFTConfig(
        **{
            "model_name": tiny_model(),
            "dataset_path": write_rows(tmp_path / "train.jsonl", "sft_train.jsonl", 48),
            "eval_dataset_path": write_rows(tmp_path / "eval.jsonl", "sft_heldout.jsonl", 16),
            "output_dir": str(tmp_path / "out"),
            "instruction_template": "tokenizer",
            "learning_rate": 2e-3,
            "max_steps": 4,
            "max_seq_length": 128,
            "per_device_train_batch_size": 1,
            "evaluation_strategy": "steps",
            "eval_steps": 2,
            "save_steps": 2,
            "logging_steps": 1,
            **changes,
        }
    )


def test_train_evaluate_save_load_and_predict(tmp_path):
    trainer = create_sft_trainer(config(tmp_path))

    before = trainer.evaluate()
    metrics = trainer.train()
    after = trainer.evaluate()
    path = trainer.save_model()

    assert metrics["train_loss"] > 0
    assert after["eval_loss"] < before["eval_loss"]
    assert after["eval_perplexity"] == pytest.approx(math.exp(after["eval_loss"]))
    assert trainer.evaluate()["eval_loss"] == after["eval_loss"]
    answer = trainer.predict("ما عاصمة مصر؟", max_length=8)
    assert trainer.generate_response("ما عاصمة مصر؟", max_length=8) == answer

    fresh = create_sft_trainer(config(tmp_path))
    fresh.load_model(path)
    assert fresh.predict("ما عاصمة مصر؟", max_length=8) == answer
    assert fresh.evaluate()["eval_loss"] == pytest.approx(after["eval_loss"], abs=1e-6)


def test_plain_peft_opens_saved_adapters(tmp_path):
    trainer = create_sft_trainer(config(tmp_path))
    trainer.train()
    path = trainer.save_model(tmp_path / "adapter")

    loaded = AutoPeftModelForCausalLM.from_pretrained(str(path))
    ids = AutoTokenizer.from_pretrained(path)("مرحبا", return_tensors="pt")

    assert {p.suffix for p in path.iterdir()} <= {".safetensors", ".json", ".jinja", ".md"}
    with torch.no_grad():
        torch.testing.assert_close(loaded(**ids).logits, trainer.model.eval()(**ids).logits)


def test_plain_transformers_opens_saved_full_weights(tmp_path):
    trainer = create_sft_trainer(config(tmp_path, use_lora=False))
    trainer.train()
    path = trainer.save_model(tmp_path / "full")

    loaded = AutoModelForCausalLM.from_pretrained(path)
    ids = AutoTokenizer.from_pretrained(path)("مرحبا", return_tensors="pt")

    assert not isinstance(trainer.model, PeftModel)
    with torch.no_grad():
        torch.testing.assert_close(loaded(**ids).logits, trainer.model.eval()(**ids).logits)


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_quantized_base_models_train_adapters_on_a_cpu(tmp_path, bits):
    trainer = SFTTrainer(config(tmp_path, **{bits: True}, max_steps=6, learning_rate=5e-3))

    before = trainer.evaluate()["eval_loss"]
    trainer.train()

    kinds = {type(module).__name__ for module in trainer.model.modules()}
    assert ("Linear4bit" if bits == "load_in_4bit" else "Linear8bitLt") in kinds
    assert trainer.trainer.path_choice.path == "packed"
    assert trainer.evaluate()["eval_loss"] < before


def test_gradient_checkpointing_trains_the_same(tmp_path):
    losses = []
    for checkpointing in (False, True):
        trainer = create_sft_trainer(
            config(tmp_path, gradient_checkpointing=checkpointing, lora_dropout=0.0, evaluation_strategy="no")
        )
        losses.append(trainer.train()["train_loss"])

    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_user_callbacks_and_early_stopping_take_part(tmp_path):
    class Recorder(TrainerCallback):
        names: list = []  # noqa: RUF012

        def on_log(self, args, state, control, model=None, logs=None, **kwargs):
            self.names.append((type(model).__name__, sorted(logs)))

    recorder = Recorder()
    given = config(tmp_path, learning_rate=1e-12, max_steps=20)
    given.callbacks = [
        EarlyStoppingCallback(early_stopping_patience=1, early_stopping_threshold=0.1),
        recorder,
    ]

    trainer = create_sft_trainer(given)
    trainer.train()

    assert trainer.trainer.state.global_step < 20
    model, keys = recorder.names[0]
    assert model == "PeftModelForCausalLM"
    assert {"loss", "grad_norm", "learning_rate", "num_tokens", "tokens_per_second", "padding"} <= set(keys)


def test_the_loader_gives_packed_batches_of_isolated_documents(tmp_path):
    loader = create_sft_trainer(config(tmp_path)).get_data_loader()
    batch = next(iter(loader))

    assert batch.input_ids.shape[1] <= 128
    assert len(batch.rows) > 1
    assert (batch.position_ids == 0).sum() == len(batch.rows)
    assert sum(segment.length for segment in batch.layout.segments) == batch.input_ids.shape[1]


def test_a_module_that_the_model_lacks_is_named_with_the_nearest(tmp_path):
    trainer = create_sft_trainer(config(tmp_path, lora_target_modules=["q_prj", "lm_head"]))

    with pytest.raises(SpecError, match=r"no module q_prj\. Did you mean q_proj") as caught:
        trainer.train()
    assert "lm_head is not a linear layer inside the model" in str(caught.value)


def test_a_model_folder_that_does_not_exist_is_named_with_the_nearest(tmp_path):
    (tmp_path / "tiny").mkdir()

    with pytest.raises(SpecError, match=r"tinny does not exist. Did you mean .*tiny\?"):
        create_sft_trainer(config(tmp_path, model_name=str(tmp_path / "tinny"))).train()


def test_a_folder_without_a_model_says_what_it_should_hold(tmp_path):
    with pytest.raises(SpecError, match=r"config\.json, a tokenizer and"):
        create_sft_trainer(config(tmp_path, model_name=str(tmp_path))).train()


def test_evaluating_without_held_out_rows_measures_training_rows_and_says_so(tmp_path, caplog):
    trainer = create_sft_trainer(config(tmp_path, eval_dataset_path=None, evaluation_strategy="no"))
    held_out = create_sft_trainer(config(tmp_path, eval_dataset_path=str(tmp_path / "train.jsonl")))

    assert trainer.evaluate()["eval_loss"] == pytest.approx(held_out.evaluate()["eval_loss"], abs=1e-6)
    assert "no rows are held out, so this measures 48 of the 48 training rows" in caplog.text
    assert "Set validation_split: 0.05" in caplog.text


def test_early_stopping_alone_gets_held_out_rows_and_stops(tmp_path):
    given = config(tmp_path, eval_dataset_path=None, learning_rate=1e-12, max_steps=20)
    plain = given.replace(callbacks=[EarlyStoppingCallback(1, early_stopping_threshold=0.1)])

    trainer = create_sft_trainer(plain)
    trainer.train()

    assert trainer.config.validation_split == 0.05
    assert (len(trainer.data.train), len(trainer.data.eval)) == (46, 2)
    assert trainer.trainer.state.global_step < 20


def test_an_early_stopping_that_can_never_act_is_said(tmp_path, caplog):
    given = config(tmp_path, max_steps=2, eval_steps=500, save_steps=1000)
    given.callbacks = [EarlyStoppingCallback(early_stopping_patience=3)]

    create_sft_trainer(given).train()

    assert (
        "cannot stop this run of 2 steps: eval_steps is 500, too rarely for its patience of 3" in caplog.text
    )


def test_early_stopping_added_to_a_trainer_that_does_not_evaluate_is_refused(tmp_path):
    trainer = create_sft_trainer(config(tmp_path, eval_dataset_path=None, evaluation_strategy="no"))

    with pytest.raises(
        SpecError, match="callbacks: an EarlyStoppingCallback, but this trainer does not evaluate"
    ):
        trainer.add_callback(EarlyStoppingCallback(3))
