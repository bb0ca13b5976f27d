# SPDX-License-Identifier: Apache-2.0
"""Warnings about data that training takes, but whose owner should know how they will be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.config import CommonConfig
from training.data.loading import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def data_warnings(loaded: Loaded, config: CommonConfig, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """One sentence or two for each thing that a user may not expect."""
    found = (
        _chats_by_tokenizer(loaded, config),
        _unused_response_template(config),
        _merges(loaded),
        _control_tokens(loaded, tokenizer),
    )
    return [warning for warning in found if warning]


def _chats_by_tokenizer(loaded: Loaded, config: CommonConfig) -> str:
    name = config.instruction_template
    count = sum(item.template == "tokenizer" for item in loaded.encoded)
    if not count or name == "tokenizer":
        return ""
    return (
        f"{count:,} rows are conversations, for which instruction_template: {name} has no form: they are "
        "written with the tokenizer's chat template. Set instruction_template: tokenizer to say so."
    )


def _unused_response_template(config: CommonConfig) -> str:
    if "response_template" not in config.model_fields_set or config.instruction_template == "alpaca":
        return ""
    return (
        f"response_template is not used: instruction_template: {config.instruction_template} announces the "
        "response in its own way. Remove it, or set instruction_template: alpaca."
    )


def _merges(loaded: Loaded) -> str:
    rows = [item.group.row for item in loaded.encoded if item.merges]
    if not rows:
        return ""
    return (
        f"{len(rows):,} rows (first: {loaded.where(rows[0])}): prompt and answer as one text would join "
        "tokens across their boundary. They are tokenized apart, as at inference; a line break at the end of "
        "prompts avoids it."
    )


def _control_tokens(loaded: Loaded, tokenizer: PreTrainedTokenizerBase) -> str:
    tokens = tokenizer.all_special_tokens
    found = [
        (item.group.row, token)
        for item in loaded.encoded
        for token in tokens
        if any(token in text for text in item.dialogue.texts())
    ]
    if not found:
        return ""
    row, token = found[0]
    return (
        f"{len({row for row, _ in found}):,} rows hold the text of control tokens (first: {token} in "
        f"{loaded.where(row)}), which the model reads as control tokens. Templates write them: leave them "
        "out of the data."
    )
