# SPDX-License-Identifier: Apache-2.0
"""Tokenizers and causal language models by name or folder: safetensors only, remote code only where asked for."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from training.config import CommonConfig
from training.errors import Problem, SpecError, nearest
from training.hardware import local_device
from training.permissions import unreadable_files
from training.strategies import is_loaded_in_shards


def load_tokenizer(config: CommonConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer; one without a padding token pads with its end-of-sequence token."""
    source = _locate(config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **_source_options(config))
    except (OSError, ValueError) as error:
        raise _unloadable(config, error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(config: CommonConfig, source: str | None = None, *, trained: bool = True) -> PreTrainedModel:
    """The base model in ``torch_dtype`` (or 4/8 bits), on this process's device.

    Without LoRA the weights themselves are ``trained`` and stay in float32, whose updates a 16-bit weight would round
    away; ``torch_dtype`` is then the dtype of the computation (`training.arguments`). DeepSpeed's optimizer keeps such
    a float32 copy itself, and with ZeRO-3 every worker keeps its shard of the weights alone. ``source`` replaces
    ``model_name``, for a fine-tuned copy. Raises SpecError when it cannot be loaded.
    """
    in_full = trained and not config.use_lora and not config.uses_deepspeed
    dtype = torch.float32 if in_full else getattr(torch, config.torch_dtype)
    options = _source_options(config) if source is None else {"trust_remote_code": config.trust_remote_code}
    try:
        return AutoModelForCausalLM.from_pretrained(
            source or _locate(config),
            dtype=dtype,
            use_safetensors=True,
            quantization_config=_quantization(config, dtype),
            device_map=None if is_loaded_in_shards() else {"": local_device()},
            **options,
        )
    except (OSError, ValueError) as error:
        raise _unloadable(config, error) from error


def _quantization(config: CommonConfig, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if config.load_in_4bit:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if config.load_in_8bit else None


def _source_options(config: CommonConfig) -> dict:
    return {"revision": config.model_revision or "main", "trust_remote_code": config.trust_remote_code}


def _locate(config: CommonConfig) -> str:
    """The folder or Hub name; a name that can only be a folder must be one."""
    name = config.model_name
    if Path(name).is_dir():
        return name
    if (
        Path(name).is_absolute()
        or name.startswith((".", "~"))
        or name.count("/") > 1
        or Path(name).parent.is_dir()
    ):
        raise SpecError("the model cannot be loaded", [_missing_folder(name)])
    return name


def _missing_folder(name: str) -> Problem:
    parent = Path(name).parent
    siblings = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
    close = nearest(Path(name).name, siblings)
    if close:
        action = f"Did you mean {parent / close}?"
    elif parent.is_dir():
        action = f"{parent} holds: {', '.join(sorted(siblings)[:10]) or 'no folders'}."
    else:
        action = f"{parent} does not exist either."
    return Problem(
        "model_name",
        f"folder {name} does not exist.",
        f"{action} `tadrib tiny-model {name}` builds a tiny one.",
    )


def _unloadable(config: CommonConfig, error: Exception) -> SpecError:
    reason = str(error).strip().splitlines()[0]
    where = "folder" if Path(config.model_name).is_dir() else "Hub name"
    if where == "folder" and (locked := unreadable_files(Path(config.model_name))):
        message = (
            f"folder {config.model_name}: this user (uid {os.getuid()}) may not read {', '.join(locked)}."
        )
        action = f"Let its owner run `chmod -R a+rX {config.model_name}`."
        return SpecError("the model cannot be loaded", [Problem("model_name", message, action)])
    action = (
        "Check that it holds config.json, a tokenizer and *.safetensors weights."
        if where == "folder"
        else "Check the spelling, network access and HF_TOKEN, or give the path of a local folder."
    )
    return SpecError(
        "the model cannot be loaded",
        [Problem("model_name", f"{where} {config.model_name}: {reason}.", action)],
    )
