# SPDX-License-Identifier: Apache-2.0
"""Batched greedy generation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from tadrib.training.engine.gathering import gathered
from tadrib.training.engine.policy import plain_attention


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    *,
    stop_ids: list[int],
    max_new_tokens: int,
    batch_size: int = 8,
) -> list[str]:
    """Greedy answers to prompts given as token ids, in the same order, without special tokens.

    An answer ends at the first of ``stop_ids`` or after ``max_new_tokens``.
    """
    was_training = model.training
    model.eval()
    answers: list[str] = []
    try:
        with torch.no_grad(), gathered(model), plain_attention(model):
            for i in range(0, len(prompts), batch_size):
                padded = tokenizer.pad(
                    {"input_ids": list(prompts[i : i + batch_size])}, padding_side="left", return_tensors="pt"
                ).to(model.device)
                output = model.generate(
                    input_ids=padded["input_ids"],
                    attention_mask=padded["attention_mask"],
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    use_cache=True,
                    eos_token_id=stop_ids,
                    pad_token_id=tokenizer.pad_token_id,
                )
                new_tokens = output[:, padded["input_ids"].shape[1] :]
                answers += tokenizer.batch_decode(new_tokens, skip_special_tokens=True)
    finally:
        model.train(was_training)
    return [answer.strip() for answer in answers]
