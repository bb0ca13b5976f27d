# SPDX-License-Identifier: Apache-2.0
"""Warnings about data that training accepts but may treat differently than the user expects."""

from __future__ import annotations

from tadrib.training.config import CommonConfig
from tadrib.training.data.loading import Loaded


def data_warnings(loaded: Loaded, config: CommonConfig) -> list[str]:
    """The warnings, one or two sentences each."""
    found = (
        _chats_by_tokenizer(loaded, config),
        _weight_of_nothing(loaded, config),
        _merges(loaded),
        *_control_tokens(loaded),
    )
    return [warning for warning in found if warning]


def _chats_by_tokenizer(loaded: Loaded, config: CommonConfig) -> str:
    name = config.instruction_template
    count = sum(item.template == "tokenizer" for item in loaded.encoded)
    if not count or name in ("tokenizer", "auto"):
        return ""
    return (
        f"{count:,} rows are conversations, which instruction_template: {name} does not support: they are rendered "
        "with the tokenizer's chat template. Set instruction_template: tokenizer to make this explicit."
    )


def _weight_of_nothing(loaded: Loaded, config: CommonConfig) -> str:
    weight = getattr(config, "hard_negative_weight", 1.0)
    roles = {answer.role for item in loaded.encoded for answer in item.group.completions}
    if weight == 1.0 or "hard_negative" in roles:
        return ""
    return f"hard_negative_weight: {weight} has no effect: no row has hard_negatives. Remove it, or add the column."


def _merges(loaded: Loaded) -> str:
    rows = [item.group.row for item in loaded.encoded if item.merges]
    if not rows:
        return ""
    return (
        f"{len(rows):,} rows (first: {loaded.where(rows[0])}): as one text, prompt and answer would merge tokens "
        "across their boundary. They are tokenized separately, as at inference. End prompts with a line break to "
        "avoid this."
    )


def _control_tokens(loaded: Loaded) -> list[str]:
    read_as = {
        True: "which the model reads as control tokens, because instruction_template: plain leaves texts unchanged. "
        "Remove it, unless the texts are deliberately written in the model's format.",
        False: "which is treated as ordinary text: only the template writes control tokens. Remove it from the data.",
    }
    warnings = []
    for is_raw, consequence in read_as.items():
        found = [i for i in loaded.encoded if i.control and (i.template == "plain") is is_raw]
        if found:
            first = f"{found[0].control} in {loaded.where(found[0].group.row)}"
            warnings.append(
                f"{len(found):,} rows contain the text of control tokens (first: {first}), {consequence}"
            )
    return warnings
