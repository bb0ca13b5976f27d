# SPDX-License-Identifier: Apache-2.0
"""What `transformers` and servers read with saved weights: the tokenizer, with the chat template used in training, and
the stop tokens."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from tadrib.training.config import CommonConfig
from tadrib.training.data.generation import as_trained, control_ids, stop_token_ids


def stop_ids(
    model: Any, tokenizer: PreTrainedTokenizerBase, config: CommonConfig, *, chat: bool
) -> list[int]:
    """Stop tokens of ``model``: those used in training, and the control tokens in its generation config. For ``chat``
    see `training.data.generation.stop_token_ids`."""
    before = model.generation_config.eos_token_id
    known = before if isinstance(before, list) else [] if before is None else [before]
    return sorted({*stop_token_ids(config, tokenizer, chat=chat), *(set(known) & control_ids(tokenizer))})


def write_serving_files(
    folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase, config: CommonConfig, *, chat: bool
) -> None:
    """Write the tokenizer and ``generation_config.json`` for inference to ``folder``, replacing those from training."""
    as_trained(config, tokenizer, chat).save_pretrained(folder)
    generation = deepcopy(model.generation_config)
    generation.eos_token_id = stop_ids(model, tokenizer, config, chat=chat)
    if generation.pad_token_id is None:
        generation.pad_token_id = tokenizer.pad_token_id
    # not save_pretrained, which rejects settings that many models ship with, such as a temperature without sampling
    generation.to_json_file(folder / GENERATION_CONFIG_NAME)
