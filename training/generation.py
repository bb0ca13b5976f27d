# SPDX-License-Identifier: Apache-2.0
"""Answers from a model, in batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from training.engine.policy import plain_attention

END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>")
"""Tokens that end an answer in the chat formats we render, beside the tokenizer's own end-of-sequence token."""


def generate(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 8,
) -> list[str]:
    """Greedy answers to rendered prompts, in their order, without special tokens, of at most ``max_new_tokens`` each."""
    was_training = model.training
    model.eval()
    answers: list[str] = []
    try:
        with torch.no_grad(), plain_attention(model):
            for i in range(0, len(prompts), batch_size):
                answers += _generate_batch(model, tokenizer, prompts[i : i + batch_size], max_new_tokens)
    finally:
        model.train(was_training)
    return answers


def _generate_batch(model, tokenizer, prompts: Sequence[str], max_new_tokens: int) -> list[str]:
    # prompts are rendered already: their template holds whatever special tokens belong there
    encoded = tokenizer(
        list(prompts), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
    ).to(model.device)
    output = model.generate(
        input_ids=encoded["input_ids"],
        attention_mask=encoded["attention_mask"],
        max_new_tokens=max_new_tokens,
        do_sample=False,
        use_cache=True,
        eos_token_id=stop_tokens(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    new_tokens = output[:, encoded["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new_tokens, skip_special_tokens=True)]


def stop_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end an answer: end of sequence and the end-of-turn tokens that this vocabulary has."""
    vocabulary = tokenizer.get_vocab()
    known = {vocabulary[token] for token in END_OF_TURN if token in vocabulary}
    return sorted(known | {tokenizer.eos_token_id})
