# SPDX-License-Identifier: Apache-2.0
"""LoRA (Hu et al. 2021, arXiv 2106.09685) and QLoRA (Dettmers et al. 2023, arXiv 2305.14314) adapters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as OF_FAMILY
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tadrib.training.adapters.adapted_layers import Layers
from tadrib.training.adapters.factor import adapted, install_factors
from tadrib.training.adapters.initial_product import start_from_weights
from tadrib.training.adapters.trained_modules import is_tied, keep_in_float32, problems_of_modules
from tadrib.training.config import CommonConfig
from tadrib.training.config.rules.lora import RANDOM_STARTS
from tadrib.training.errors import Problem, SpecError, nearest
from tadrib.training.model.language_model import warn_about_frozen_parts
from tadrib.training.notices import warn

_KEY = "lora_target_modules"


def add_lora(model: PreTrainedModel, config: CommonConfig) -> PeftModel:
    """Wrap ``model`` with new trainable adapters and freeze its own weights.

    In a multimodal model only the language model gets adapters. If the model has none of the layers that
    ``lora_target_modules`` lists by default, PEFT's default layers for its family are used.
    Frozen weights keep their dtype, also where others are quantized. Raises SpecError if a target is not a layer that
    can be adapted.
    """
    layers = Layers.of(model)
    targets = _targets(model, config, layers)
    problems = [Problem(_KEY, *each) for each in layers.problems(targets)]
    problems += [
        Problem("modules_to_save", *each) for each in problems_of_modules(config.modules_to_save, layers)
    ]
    if problems:
        raise SpecError("LoRA cannot be set up", problems)
    warn_about_frozen_parts(model, layers.others)
    try:
        wrapped = get_peft_model(model, _settings(model, config, layers, targets))
    except ValueError as error:  # for a kind of layer that PEFT does not support
        problem = Problem(_KEY, f"PEFT: {' '.join(str(error).split())}", layers.choice)
        raise SpecError("LoRA cannot be set up", [problem]) from error
    if problems := list(_idle_patterns(wrapped, config)):
        raise SpecError("LoRA cannot be set up", problems)
    install_factors(wrapped)
    start_from_weights(wrapped, config)
    keep_in_float32(wrapped)
    return wrapped


def _settings(
    model: PreTrainedModel, config: CommonConfig, layers: Layers, targets: list[str] | str
) -> LoraConfig:
    start = config.init_lora_weights
    return LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets,
        exclude_modules=layers.left_out(targets),
        rank_pattern=dict(config.rank_pattern),
        alpha_pattern=dict(config.alpha_pattern),
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        lora_bias=config.lora_bias,
        # those computed from the weights come later; PEFT takes them out of the base weights
        init_lora_weights=start if start in RANDOM_STARTS and start != "kaiming" else True,
        modules_to_save=list(config.modules_to_save) or None,
        ensure_weight_tying=is_tied(model, config.modules_to_save),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
    )


def _idle_patterns(model: PeftModel, config: CommonConfig) -> Iterator[Problem]:
    """A problem for every pattern that matches no layer with an adapter, which PEFT passes over in silence."""
    names = [name for name, _ in adapted(model)]
    last = sorted({name.rpartition(".")[2] for name in names})
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(config, key):
            if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in names):
                close = nearest(pattern, last)
                action = f"Did you mean {close}?" if close else f"Adapted layers: {', '.join(last)}."
                yield Problem(f"{key}.{pattern}", "matches no layer that has an adapter.", action)


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
