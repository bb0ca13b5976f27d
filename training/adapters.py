# SPDX-License-Identifier: Apache-2.0
"""LoRA (Hu et al. 2021, arXiv 2106.09685) and QLoRA (Dettmers et al. 2023, arXiv 2305.14314) adapters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PreTrainedModel

from training.config import CommonConfig
from training.config.types import ALL_LINEAR
from training.errors import Problem, SpecError, nearest

_KEY = "lora_target_modules"


def add_lora(model: PreTrainedModel, config: CommonConfig) -> PeftModel:
    """Wrap ``model`` with fresh trainable adapters; its own weights are frozen.

    Raises SpecError when a target module is not in the model.
    """
    _check_targets(model, config.lora_target_modules)
    return get_peft_model(
        _ready(model, config),
        LoraConfig(
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=config.lora_target_modules,
            task_type="CAUSAL_LM",
        ),
    )


def _ready(model: PreTrainedModel, config: CommonConfig) -> PreTrainedModel:
    if config.load_in_4bit or config.load_in_8bit:
        # checkpointing is switched on with the rest of the training arguments
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model


def _check_targets(model: PreTrainedModel, targets: list[str] | str) -> None:
    linear = {
        name
        for name, module in model.named_modules()
        if hasattr(module, "in_features") and module is not model.get_output_embeddings()
    }
    if targets == ALL_LINEAR:
        return
    if isinstance(targets, str):
        problems = list(_pattern_problems(model, targets, linear))
    else:
        problems = list(_name_problems(model, targets, {name.rsplit(".", 1)[-1] for name in linear}))
    if problems:
        raise SpecError("LoRA cannot be set up", problems)


def _name_problems(model: PreTrainedModel, targets: list[str], linear: set[str]) -> Iterator[Problem]:
    """``linear`` are the last parts of the names of the linear layers inside the model."""
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name, _ in model.named_modules()):
            close = nearest(target, linear)
            action = f"Did you mean {close}?" if close else f"It has: {', '.join(sorted(linear))}."
            yield Problem(_KEY, f"the model has no module {target}.", action)
        elif target.rsplit(".", 1)[-1] not in linear:
            action = f"Use some of: {', '.join(sorted(linear))}."
            yield Problem(_KEY, f"{target} is not a linear layer inside the model.", action)


def _pattern_problems(model: PreTrainedModel, pattern: str, linear: set[str]) -> Iterator[Problem]:
    """``pattern`` has to match whole names, as PEFT has it, and no others than those of ``linear`` layers."""
    names = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    ends = [name for name in sorted(linear) if re.search(rf"(?:^|\.)(?:{pattern})$", name)]
    other = next((name for name in names if name not in linear), None)
    if not names:
        action = rf"Write .*\.({pattern})." if ends else f"Write the names of layers: {_some(linear)}."
        yield Problem(_KEY, f"{pattern} matches no whole name such as {min(linear)}.", action)
    elif other is not None:
        message = f"{pattern} also matches {other or 'the model itself'}, which is no linear layer inside the model."
        yield Problem(_KEY, message, f"Write the names of layers: {_some(linear)}.")


def _some(linear: set[str]) -> str:
    return f"[{', '.join(sorted({name.rsplit('.', 1)[-1] for name in linear}))}]"
