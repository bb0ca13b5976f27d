# SPDX-License-Identifier: Apache-2.0
"""Warnings about data that training accepts but may treat differently than the user expects."""

from __future__ import annotations

from tadrib.training.config import CommonConfig
from tadrib.training.data.blocks.encoded_rows import EncodedRows
from tadrib.training.data.blocks.facts import Facts


def data_warnings(rows: EncodedRows, config: CommonConfig) -> list[str]:
    """The warnings, one or two sentences each."""
    found = (
        _chats_by_tokenizer(rows.facts, config),
        _weight_of_nothing(rows.facts, config),
        _merges(rows),
        *_control_tokens(rows),
    )
    return [warning for warning in found if warning]


def _chats_by_tokenizer(facts: Facts, config: CommonConfig) -> str:
    name, count = config.instruction_template, facts.templates["tokenizer"]
    if not count or name in ("tokenizer", "auto"):
        return ""
    return (
        f"{count:,} rows are conversations, which instruction_template: {name} does not support: they are rendered "
        "with the tokenizer's chat template. Set instruction_template: tokenizer to make this explicit."
    )


def _weight_of_nothing(facts: Facts, config: CommonConfig) -> str:
    weight = getattr(config, "hard_negative_weight", 1.0)
    if weight == 1.0 or "hard_negative" in facts.roles:
        return ""
    return f"hard_negative_weight: {weight} has no effect: no row has hard_negatives. Remove it, or add the column."


def _merges(rows: EncodedRows) -> str:
    merges = rows.facts.merges
    if not merges.count:
        return ""
    return (
        f"{merges.count:,} rows (first: {rows.source.where(merges.number)}): as one text, prompt and answer would "
        "merge tokens across their boundary. They are tokenized separately, as at inference. End prompts with a line "
        "break to avoid this."
    )


def _control_tokens(rows: EncodedRows) -> list[str]:
    read_as = {
        "raw": "which the model reads as control tokens, because instruction_template: plain leaves texts unchanged. "
        "Remove it, unless the texts are deliberately written in the model's format.",
        "text": "which is treated as ordinary text: only the template writes control tokens. Remove it from the data.",
    }
    return [
        f"{seen.count:,} rows contain the text of control tokens (first: {seen.text} in "
        f"{rows.source.where(seen.number)}), {consequence}"
        for kind, consequence in read_as.items()
        if (seen := rows.facts.control.get(kind)) is not None
    ]
