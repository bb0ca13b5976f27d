# SPDX-License-Identifier: Apache-2.0
"""What stands before the text of a prompt: one BOS token or none, whoever asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tadrib.training.data.rows.segments import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Beginning:
    """The beginnings of prompts that one tokenizer needs."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._bos_text = tokenizer.bos_token or ""
        self._bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self._habit = _tokens_in_front(tokenizer)

    def split(self, template: Template, prompt: str) -> tuple[list[int], str]:
        """The token ids with which ``prompt`` begins, and the text that follows them. A BOS token that a chat
        template writes stays in its text, whose tokens may depend on it."""
        if template.begins == "text":
            return [], prompt
        text = prompt.removeprefix(self._bos_text)
        was_written = self._bos if text != prompt else []
        wanted = self._bos if template.begins == "format" else was_written
        return self._habit or wanted, text


def _tokens_in_front(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before any text of its own accord, such as a BOS token."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    starts = range(len(full) - len(bare) + 1)
    return next((full[:i] for i in starts if full[i : i + len(bare)] == bare), [])
