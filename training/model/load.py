# SPDX-License-Identifier: Apache-2.0
"""Load causal language models by name or folder, multimodal ones with their encoders: safetensors only, and remote code
only if enabled."""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from peft import PeftModel
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from tadrib.training.compat.bitsandbytes import keep_differentiable_layout
from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.adapter_folder import MERGE_IT, adapter_of, base_of
from tadrib.training.model.deepspeed import is_loaded_in_shards
from tadrib.training.model.hardware import local_device
from tadrib.training.model.language_model import freeze_other_parts
from tadrib.training.model.source import TITLE, ModelSource, locate, unloadable
from tadrib.training.model.starting_adapter import attach_frozen, merge, open_frozen
from tadrib.training.model.weights import require_whole

_MOST_LAYERS = 2_000
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RecursionError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises for files that are not a valid model."""


def load_model(
    config: CommonConfig, source: ModelSource | None = None, *, trained: bool = True
) -> PreTrainedModel | PeftModel:
    """Load the model in ``torch_dtype`` (or 4/8 bits) onto this process's device. ``source`` replaces ``model_name``.

    Full fine-tuning (``trained`` and no LoRA) keeps the weights in float32, because 16-bit weights would round small
    updates away; ``torch_dtype`` is then the compute dtype (`training.loop.arguments`). DeepSpeed's optimizer keeps
    that float32 copy itself, and with ZeRO-3 each worker holds only its shard of the weights.

    If the source is an adapter, its base model is loaded, with the adapter as a frozen part of it. Without LoRA it is
    merged in float32 instead (`training.model.starting_adapter`). A saved adapter that is more than plain LoRA, such as
    DoRA, opens as a frozen `PeftModel`, which answers and cannot be trained.

    Raises SpecError if the model cannot be loaded, or its weights do not match its configuration.
    """
    model = _load_start(config, source or ModelSource.start(config), trained)
    if trained and not config.use_lora:
        freeze_other_parts(model)
    return model


def _load_start(config: CommonConfig, source: ModelSource, trained: bool) -> PreTrainedModel | PeftModel:
    in_full = trained and not config.use_lora and not config.uses_deepspeed
    dtype = torch.float32 if in_full else getattr(torch, config.torch_dtype)
    locate(source)
    adapter = adapter_of(source)
    if adapter is None:
        return _load(config, source, dtype)
    if source.is_saved:
        adapter = adapter.on(base_of(ModelSource.start(config)))
    if config.use_lora and source.is_saved and adapter.is_special:
        return open_frozen(_load(config, adapter.base, dtype), adapter)
    if config.use_lora:
        if trained:
            adapter.require_joinable(config)
        return attach_frozen(_load(config, adapter.base, dtype), adapter)
    if is_loaded_in_shards():
        raise _not_mergeable_in_shards(source)
    return merge(_load(config, adapter.base, torch.float32), adapter).to(dtype)


def _load(config: CommonConfig, source: ModelSource, dtype: torch.dtype) -> PreTrainedModel:
    """Load a full model, not an adapter."""
    try:
        settings = AutoConfig.from_pretrained(locate(source), **source.options)
        _require_buildable(settings)
        model, report = _kind(settings).from_pretrained(
            locate(source),
            dtype=dtype,
            use_safetensors=True,
            quantization_config=_quantization(config, dtype),
            device_map=None if is_loaded_in_shards() else {"": local_device()},
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `require_whole` reports them with all other problems
            **source.options,
        )
    except UNREADABLE as error:
        raise unloadable(source, error) from error
    except RuntimeError as error:  # with ZeRO-3 transformers raises for the first wrong shape
        if "state_dict" not in str(error):
            raise
        raise unloadable(source, error) from error
    except ImportError as error:  # encoders of images and sound may need extra packages
        raise _lacks_package(source, error) from error
    require_whole(source, model, report)
    if config.load_in_4bit:
        keep_differentiable_layout(model)
    return model


def _kind(settings: PreTrainedConfig) -> Any:
    """The auto class that loads all parts of the model, so that the saved model is complete."""
    is_multimodal = type(settings) in MODEL_FOR_MULTIMODAL_LM_MAPPING and not settings.is_encoder_decoder
    return AutoModelForMultimodalLM if is_multimodal else AutoModelForCausalLM


def _require_buildable(settings: PreTrainedConfig) -> None:
    """Raise ValueError for an absurd number of layers, which would be built one by one until memory runs out."""
    layers = getattr(settings.get_text_config(), "num_hidden_layers", None)
    if isinstance(layers, int) and layers > _MOST_LAYERS:
        raise ValueError(f"config.json: num_hidden_layers is {layers:,}, and no model has that many")


def _lacks_package(source: ModelSource, error: ImportError) -> SpecError:
    reason = " ".join(str(error).split()).split(". ")[0]
    return SpecError(
        TITLE, [Problem(source.key, f"{source.name}: {reason}.", "Install it where training runs.")]
    )


def _not_mergeable_in_shards(source: ModelSource) -> SpecError:
    message = f"{source.name} is an adapter, which cannot be merged into a model that zero3 partitions."
    action = f"Set use_lora: true or strategy: zero2. {MERGE_IT}"
    return SpecError(TITLE, [Problem(source.key, message, action)])


def _quantization(config: CommonConfig, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if config.load_in_4bit:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if config.load_in_8bit else None
