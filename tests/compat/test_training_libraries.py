# SPDX-License-Identifier: Apache-2.0
"""When an entry of `training.compat` may go: each of these tests fails once the library no longer needs it."""

from __future__ import annotations

import dataclasses
import inspect

import accelerate.utils.other
import bitsandbytes.nn
import peft.tuners.tuners_utils
import pytest
import torch
import transformers
import trl
from torch import nn
from transformers import Trainer

from tadrib.training.compat import accelerate as accelerate_room
from tadrib.training.compat.bitsandbytes import keep_differentiable_layout
from tadrib.training.compat.peft import refuses
from tadrib.training.compat.transformers import Steps
from tadrib.training.compat.trl import Quiet

STEPS = sorted(name for name in vars(Steps) if name.startswith("_") and not name.startswith("__"))


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_the_trainer_is_still_private_and_still_taken(name):
    """It may go once transformers has a public name for it; it must follow where the parameters change."""
    theirs, ours = (inspect.signature(getattr(each, name)).parameters for each in (Trainer, Steps))
    assert not hasattr(Trainer, name.removeprefix("_"))
    assert f"self.{name}(" in inspect.getsource(Trainer)
    if not any(each.kind is each.VAR_KEYWORD for each in ours.values()):
        assert list(ours) == list(theirs)


@pytest.mark.parametrize("name", ["_tr_loss", "_globalstep_last_logged", "_initial_global_step"])
def test_the_means_that_a_trainer_logs_have_no_public_place(name):
    assert f"self.{name} = " in inspect.getsource(Trainer)
    assert f"self.{name.removeprefix('_')} = " not in inspect.getsource(Trainer)


def test_a_step_that_is_forgotten_is_in_no_mean():
    trainer = object.__new__(Steps)
    trainer._tr_loss, trainer._globalstep_last_logged, trainer._initial_global_step = torch.tensor(7.0), 3, 1
    trainer.state = transformers.TrainerState(global_step=2)
    assert trainer.has_stepped
    trainer.forget_step(torch.tensor(5.0))
    assert (trainer.loss_to_log.item(), trainer._globalstep_last_logged) == (5.0, 4)
    assert not trainer.has_stepped


@pytest.mark.parametrize("name", ["_attn_implementation", "_supports_sdpa", "_is_stateful"])
def test_what_models_say_of_themselves_is_still_private(name):
    owner = (
        transformers.PreTrainedConfig() if name == "_attn_implementation" else transformers.PreTrainedModel
    )
    assert hasattr(owner, name)
    assert not hasattr(owner, name.removeprefix("_"))


def test_trl_takes_tokenized_rows_for_sft_alone():
    fields = {
        config: {field.name for field in dataclasses.fields(config)}
        for config in (trl.SFTConfig, trl.DPOConfig, trl.KTOConfig)
    }
    assert ["dataset_kwargs" in found for found in fields.values()] == [True, False, False]
    for trainer in (trl.DPOTrainer, trl.KTOTrainer):
        assert "self._prepare_dataset(" in inspect.getsource(trainer)


def test_trl_still_sends_telemetry_and_writes_cards_unasked():
    source = inspect.getsource(inspect.getmodule(trl.SFTTrainer.__mro__[1]))
    assert "self._send_telemetry()" in source
    assert not any("telemetry" in field.name for field in dataclasses.fields(trl.SFTConfig))
    assert "self.create_model_card(" in inspect.getsource(trl.SFTTrainer)
    assert Quiet().create_model_card() is None


def test_trl_still_has_cpo_among_its_experiments():
    assert not hasattr(trl, "CPOTrainer")


def test_peft_still_has_no_public_word_on_layers_that_it_refuses():
    model = nn.Module()
    model.config = transformers.MambaConfig()
    assert refuses(model, "out_proj")
    assert not refuses(model, "in_proj")
    assert not hasattr(peft.tuners.tuners_utils, "check_lora_target_modules_mamba")


def test_bitsandbytes_still_rearranges_weights_at_the_first_evaluation_for_good():
    forward = inspect.getsource(bitsandbytes.nn.Linear4bit.forward)
    assert "and self.support_avx512bf16_for_cpu\n            and not self.training" in forward
    assert "unpack" not in forward
    model = nn.Sequential(bitsandbytes.nn.Linear4bit(4, 4))
    model[0].support_avx512bf16_for_cpu = True
    keep_differentiable_layout(model)
    assert model[0].support_avx512bf16_for_cpu is False


def test_accelerate_still_imports_deepspeed_to_save_a_model(monkeypatch):
    source = inspect.getsource(accelerate.utils.other.extract_model_from_parallel)
    assert "if is_deepspeed_available():\n        from deepspeed import DeepSpeedEngine" in source
    monkeypatch.setattr(accelerate.utils.other, "is_deepspeed_available", lambda: True)
    accelerate_room.import_deepspeed_on_demand()
    monkeypatch.delitem(__import__("sys").modules, "deepspeed", raising=False)
    assert accelerate.utils.other.is_deepspeed_available() is False
