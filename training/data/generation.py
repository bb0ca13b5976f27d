# SPDX-License-Identifier: Apache-2.0
"""What generation needs to know of training data: the token ids it starts from, and those it stops at."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

from tadrib.training.config import CommonConfig
from tadrib.training.data.encoding import Encoder
from tadrib.training.data.rows.dialogue import Answer, Dialogue
from tadrib.training.data.rows.messages import Content, Message
from tadrib.training.data.templates.chat_formats import ChatFormat
from tadrib.training.data.templates.choice import Templates, jinja_of
from tadrib.training.data.templates.text_templates import Alpaca, Plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_prompt(
    instruction: str | Sequence[Message], config: CommonConfig, tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """The token ids that training saw before the response to ``instruction``: what generation starts from."""
    prompt = instruction if isinstance(instruction, str) else list(instruction)
    return Encoder(tokenizer, config, "sft").encode(Dialogue(prompt, ())).prompt


def control_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of tokens that are not text: special tokens and those added for a chat format."""
    return {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}


def stop_token_ids(config: CommonConfig, tokenizer: PreTrainedTokenizerBase, chat: bool = False) -> list[int]:
    """Tokens at which generation ends: EOS, and the end-of-turn token that training put after each answer.

    ``chat`` asks for the template that conversations get.
    """
    return sorted({tokenizer.eos_token_id, _end_of_answer(config, tokenizer, chat)})


def _end_of_answer(config: CommonConfig, tokenizer: PreTrainedTokenizerBase, chat: bool) -> int:
    """The token that ends the answers of training; EOS where their last token is text."""
    prompt: Content = [{"role": "user", "content": "a"}] if chat else "a"
    answer: Content = [{"role": "assistant", "content": "a"}] if chat else "a"
    group = Encoder(tokenizer, config, "sft").encode(Dialogue(prompt, (Answer("response", answer),)))
    last = group.completions[0].tokens[-1]
    return last if last in control_ids(tokenizer) else int(tokenizer.eos_token_id)


def as_trained(
    config: CommonConfig, tokenizer: PreTrainedTokenizerBase, chat: bool = False
) -> PreTrainedTokenizerBase:
    """A copy of ``tokenizer`` for those who use the trained model: with the chat template that it was trained with,
    and the token that ends its answers as EOS.

    ``chat`` says that conversations were trained in the template that they get.
    """
    copy = deepcopy(tokenizer)
    template = Templates(config, tokenizer).configured
    if isinstance(template, Alpaca | Plain | ChatFormat) and not (chat and template.adds_eos):
        copy.chat_template = jinja_of(template, tokenizer)
    end = _end_of_answer(config, tokenizer, chat)
    if end != copy.eos_token_id:
        copy.eos_token = tokenizer.convert_ids_to_tokens(end)
    return copy
