# SPDX-License-Identifier: Apache-2.0
"""The tokens before a prompt's text: exactly one BOS token or none, whether tokenizer, template or text adds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tadrib.training.data.rows.segments import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Beginning:
    """Computes the leading tokens of prompts for one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._bos_text = tokenizer.bos_token or ""
        self._bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self._by_default = _leading_tokens(tokenizer)

    def split(self, template: Template, prompt: str) -> tuple[list[int], str]:
        """The leading token ids of ``prompt``, and the text after them. A BOS token written by a chat template stays in
        the text, whose tokens may depend on it."""
        if template.begins == "text":
            return [], prompt
        text = prompt.removeprefix(self._bos_text)
        was_written = self._bos if text != prompt else []
        wanted = self._bos if template.begins == "format" else was_written
        return self._by_default or wanted, text


def _leading_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that the tokenizer adds before any text by default, such as BOS."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    starts = range(len(full) - len(bare) + 1)
    return next((full[:i] for i in starts if full[i : i + len(bare)] == bare), [])
