# SPDX-License-Identifier: Apache-2.0
"""What generation needs from training: how prompts are encoded, and the stop tokens."""

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
    """The prompt for ``instruction``, with the token ids that training would have before the response."""
    prompt = instruction if isinstance(instruction, str) else list(instruction)
    return Encoder(tokenizer, config, "sft").encode(Dialogue(prompt, ())).prompt


def control_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of tokens that are not text: special tokens, and those added for a chat format."""
    return {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}


def stop_token_ids(config: CommonConfig, tokenizer: PreTrainedTokenizerBase, chat: bool = False) -> list[int]:
    """Stop tokens: EOS, and the end-of-turn token that follows each answer in training.

    ``chat`` selects the template used for conversations.
    """
    return sorted({tokenizer.eos_token_id, _end_of_answer(config, tokenizer, chat)})


def _end_of_answer(config: CommonConfig, tokenizer: PreTrainedTokenizerBase, chat: bool) -> int:
    """The token that ends answers in training; EOS if their last token is text."""
    prompt: Content = [{"role": "user", "content": "a"}] if chat else "a"
    answer: Content = [{"role": "assistant", "content": "a"}] if chat else "a"
    group = Encoder(tokenizer, config, "sft").encode(Dialogue(prompt, (Answer("response", answer),)))
    last = group.completions[0].tokens[-1]
    return last if last in control_ids(tokenizer) else int(tokenizer.eos_token_id)


def as_trained(
    config: CommonConfig, tokenizer: PreTrainedTokenizerBase, chat: bool = False
) -> PreTrainedTokenizerBase:
    """A copy of ``tokenizer`` for inference: with training's chat template, and the token that ends answers as EOS.

    ``chat`` says that the rows were conversations, rendered with the template used for those.
    """
    copy = deepcopy(tokenizer)
    template = Templates(config, tokenizer).configured
    if isinstance(template, Alpaca | Plain | ChatFormat) and not (chat and template.adds_eos):
        copy.chat_template = jinja_of(template, tokenizer)
    end = _end_of_answer(config, tokenizer, chat)
    if end != copy.eos_token_id:
        copy.eos_token = tokenizer.convert_ids_to_tokens(end)
    return copy
