# SPDX-License-Identifier: Apache-2.0
"""LoRA (Hu et al. 2021, arXiv 2106.09685) and QLoRA (Dettmers et al. 2023, arXiv 2305.14314) adapters."""

from __future__ import annotations

from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as OF_FAMILY
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tadrib.training.adapters.adapted_layers import Layers
from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.language_model import warn_about_frozen_parts
from tadrib.training.notices import warn

_KEY = "lora_target_modules"


def add_lora(model: PreTrainedModel, config: CommonConfig) -> PeftModel:
    """Wrap ``model`` with new trainable adapters and freeze its own weights.

    In a multimodal model only the language model gets adapters. If the model has none of the layers that
    ``lora_target_modules`` lists by default, PEFT's default layers for its family are used.
    Raises SpecError if a target is not a layer that can be adapted.
    """
    layers = Layers.of(model)
    targets = _targets(model, config, layers)
    if problems := [Problem(_KEY, *each) for each in layers.problems(targets)]:
        raise SpecError("LoRA cannot be set up", problems)
    warn_about_frozen_parts(model, layers.others)
    try:
        return get_peft_model(
            _ready(model, config),
            LoraConfig(
                r=config.lora_r,
                lora_alpha=config.lora_alpha,
                lora_dropout=config.lora_dropout,
                target_modules=targets,
                exclude_modules=layers.left_out(targets),
                fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
                task_type="CAUSAL_LM",
            ),
        )
    except ValueError as error:  # for a kind of layer that PEFT does not support
        problem = Problem(_KEY, f"PEFT: {' '.join(str(error).split())}", layers.choice)
        raise SpecError("LoRA cannot be set up", [problem]) from error


def _ready(model: PreTrainedModel, config: CommonConfig) -> PreTrainedModel:
    if config.load_in_4bit or config.load_in_8bit:
        # gradient checkpointing is enabled later, by the training arguments
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model


def _targets(model: PreTrainedModel, config: CommonConfig, layers: Layers) -> list[str] | str:
    written = config.lora_target_modules
    default = type(config).model_fields["lora_target_modules"].get_default(call_default_factory=True)
    kind = model.config.get_text_config().model_type
    usual = OF_FAMILY.get(kind)
    if written != default or not isinstance(usual, list) or any(map(layers.has, default)):
        return written
    warn(
        f"{_KEY}: a {type(model).__name__} has no {' or '.join(default)}; using PEFT's default for {kind},"
        f" {' and '.join(usual)}. {layers.choice}"
    )
    return usual
