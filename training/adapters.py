# SPDX-License-Identifier: Apache-2.0
"""LoRA (Hu et al. 2021, arXiv 2106.09685) and QLoRA (Dettmers et al. 2023, arXiv 2305.14314) adapters."""

from __future__ import annotations

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PreTrainedModel

from training.config import CommonConfig
from training.errors import Problem, SpecError, nearest

ADAPTER_FILE = "adapter_config.json"


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


def load_lora(model: PreTrainedModel, path: str | Path, config: CommonConfig) -> PeftModel:
    """Wrap ``model`` with the adapters saved at ``path``, ready to be trained further."""
    return PeftModel.from_pretrained(_ready(model, config), str(path), is_trainable=True)


def _ready(model: PreTrainedModel, config: CommonConfig) -> PreTrainedModel:
    if config.load_in_4bit or config.load_in_8bit:
        # checkpointing is switched on with the rest of the training arguments
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model


def _check_targets(model: PreTrainedModel, targets: list[str]) -> None:
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if hasattr(module, "in_features") and module is not model.get_output_embeddings()
    }
    problems = []
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name, _ in model.named_modules()):
            close = nearest(target, linear)
            action = f"Did you mean {close}?" if close else f"It has: {', '.join(sorted(linear))}."
            problems.append(Problem("lora_target_modules", f"the model has no module {target}.", action))
        elif target not in linear:
            action = f"Use some of: {', '.join(sorted(linear))}."
            problems.append(
                Problem("lora_target_modules", f"{target} is not a linear layer inside the model.", action)
            )
    if problems:
        raise SpecError("LoRA cannot be set up", problems)
