# SPDX-License-Identifier: Apache-2.0
"""Warn before training if a model is to be trained with another template than before, which degrades its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tadrib.training.config import CommonConfig
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.messages import Content
from tadrib.training.data.rows.row_problem import RowError
from tadrib.training.data.rows.segments import Template
from tadrib.training.data.templates.choice import Templates
from tadrib.training.data.templates.tokenizer_template import TokenizerTemplate
from tadrib.training.errors import SpecError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_USER = {"role": "user", "content": "a"}
# Also with a system message: some models' own templates add one by default, named formats do not.
_PROMPTS: tuple[Content, ...] = ([_USER], [{"role": "system", "content": "b"}, _USER])


def template_change(config: CommonConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """A warning if ``instruction_template`` renders prompts differently than the model's own chat template, such as
    one saved by an earlier stage. Empty if they agree, or the model has none."""
    if not tokenizer.chat_template:
        return ""
    configured, own = Templates(config, tokenizer).configured, TokenizerTemplate(tokenizer)
    if configured.name == own.name or any(_agree(configured, own, tokenizer, prompt) for prompt in _PROMPTS):
        return ""
    return (
        f"instruction_template: {configured.name} renders prompts differently than the chat template of "
        f"{config.model_name}, with which it was trained before. What it learned then may be lost in the new format. "
        "Remove instruction_template, or set it to auto, to keep the model's own."
    )


def _agree(configured: Template, own: Template, tokenizer: PreTrainedTokenizerBase, prompt: Content) -> bool:
    bos = tokenizer.bos_token or ""
    asked = Dialogue(prompt, ()) if not configured.adds_eos else Dialogue(str(_USER["content"]), ())
    try:
        written, theirs = configured.prompt(asked), own.prompt(Dialogue(prompt, ()))
    except (RowError, SpecError):  # also if the model's own template, which is not used, exceeds the limits
        return False
    return written == theirs.removeprefix(bos).lstrip(" ")
