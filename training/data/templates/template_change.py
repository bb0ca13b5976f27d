# SPDX-License-Identifier: Apache-2.0
"""A model that learnt one template and is to be trained in another: told before training, for answers get worse."""

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
# With a system message as well: some models' own templates put one in where there is none, named formats do not.
_PROMPTS: tuple[Content, ...] = ([_USER], [{"role": "system", "content": "b"}, _USER])


def template_change(config: CommonConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """A warning when ``instruction_template`` writes prompts otherwise than the chat template that comes with the
    model, as the one that an earlier stage saved; empty when it does not, or when there is none."""
    if not tokenizer.chat_template:
        return ""
    configured, own = Templates(config, tokenizer).configured, TokenizerTemplate(tokenizer)
    if configured.name == own.name or any(_agree(configured, own, tokenizer, prompt) for prompt in _PROMPTS):
        return ""
    return (
        f"instruction_template: {configured.name} writes prompts otherwise than the chat template that comes with "
        f"{config.model_name}, in which it was trained before. What it learnt then may not show in the new form. "
        "Remove instruction_template, or set it to auto, to go on in the model's own."
    )


def _agree(configured: Template, own: Template, tokenizer: PreTrainedTokenizerBase, prompt: Content) -> bool:
    bos = tokenizer.bos_token or ""
    asked = Dialogue(prompt, ()) if not configured.adds_eos else Dialogue(str(_USER["content"]), ())
    try:
        written, theirs = configured.prompt(asked), own.prompt(Dialogue(prompt, ()))
    except (RowError, SpecError):  # also where theirs, which is not used, cannot be rendered within limits
        return False
    return written == theirs.removeprefix(bos).lstrip(" ")
