# SPDX-License-Identifier: Apache-2.0
"""Tokenizers by name or folder. Apart from `training.models`, whose imports cost a driver seconds for nothing."""

from __future__ import annotations

from transformers import AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from training.config import CommonConfig
from training.model_source import locate, source_options, unloadable


def load_tokenizer(config: CommonConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer; one without a padding token pads with its end-of-sequence token."""
    source = locate(config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **source_options(config))
    except (OSError, ValueError) as error:
        raise unloadable(config, error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
