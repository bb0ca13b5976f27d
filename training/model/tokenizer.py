# SPDX-License-Identifier: Apache-2.0
"""Load tokenizers by name or folder. Separate from `training.model.load`, whose imports take the driver seconds."""

from __future__ import annotations

from transformers import AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from tadrib.training.config import CommonConfig
from tadrib.training.model.adapter_folder import adapter_of
from tadrib.training.model.source import ModelSource, locate, unloadable


def load_tokenizer(config: CommonConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer; for an adapter saved without one, its base model's. A tokenizer without a padding token
    pads with EOS."""
    source = ModelSource.start(config)
    locate(source)
    adapter = adapter_of(source)
    if adapter is not None and not (adapter.path / "tokenizer_config.json").is_file():
        source = adapter.base
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.name, **source.options)
    except Exception as error:  # tokenizers raises a bare Exception for invalid files
        raise unloadable(source, error, "its tokenizer: ") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
