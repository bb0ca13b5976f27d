# SPDX-License-Identifier: Apache-2.0
"""Scoring inside the model's own ``forward``.

DDP, DeepSpeed and FSDP gather parameters and reduce gradients around the wrapped module's ``forward``, so everything
from input ids to token log-probs has to happen inside it. Patching the causal LM, rather than wrapping it in a module
of ours, keeps it a `PreTrainedModel` or `PeftModel` for saving, resuming and generation.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from tadrib.training.compat.transformers import attention_implementation, supports_sdpa
from tadrib.training.engine import attention
from tadrib.training.engine.collate import ScoringPath
from tadrib.training.engine.embedding_noise import noisy_embeddings, sequence_lengths
from tadrib.training.engine.layout import AttentionLayout
from tadrib.training.engine.router_loss import load_balancing_loss
from tadrib.training.engine.scorer import token_log_probs
from tadrib.training.errors import SpecError


def install_scoring(model: PreTrainedModel, noise: float | None = None) -> None:
    """Extend a causal LM's ``forward``: called with ``targets``, it returns their log-probs [T] in float32. With
    ``with_router_loss`` it also returns the load-balancing loss of a mixture of experts. ``noise`` is NEFTune's alpha:
    in training mode, scoring adds noise to the embeddings.

    Without ``targets`` the model's own forward runs. The signature is unchanged, because transformers reads from it
    which columns a plain `Trainer` keeps and whether generation needs a mask. Generation uses transformers' attention.
    Raises SpecError for a head whose weight cannot be read.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        raise SpecError(
            f"the language-model head is a {type(head).__name__}; scoring needs a plain Linear. "
            "Remove lm_head from lora_target_modules and leave it unquantized."
        )
    plain_forward, plain_generate = model.forward, model.generate

    @functools.wraps(plain_forward)
    def forward(*args: Any, targets: Tensor | None = None, **kwargs: Any) -> Any:
        if targets is None:
            with plain_attention(model):
                return plain_forward(*args, **kwargs)
        if noise is None or not model.training:
            return _score(model, targets=targets, **kwargs)
        lengths = sequence_lengths(kwargs["position_ids"], kwargs["attention_mask"])
        with noisy_embeddings(model.get_input_embeddings(), noise, lengths):
            return _score(model, targets=targets, **kwargs)

    @functools.wraps(plain_generate)
    def generate(*args: Any, **kwargs: Any) -> Any:
        with plain_attention(model):
            return plain_generate(*args, **kwargs)

    model.forward, model.generate = forward, generate


def _score(
    model: PreTrainedModel,
    *,
    input_ids: Tensor,
    position_ids: Tensor,
    score_index: Tensor,
    targets: Tensor,
    layout: AttentionLayout | None,
    attention_mask: Tensor | None,
    with_router_loss: bool = False,
    **unused: Any,
) -> Tensor | tuple[Tensor, Tensor]:
    extra: dict[str, Any] = {} if layout is None else {"layout": layout}
    if with_router_loss:
        extra["output_router_logits"] = True
    output = _without_head(model)(
        input_ids=input_ids,
        attention_mask=_mask_argument(model, attention_mask, position_ids),
        position_ids=position_ids,
        use_cache=False,
        **extra,
    )
    # only positions that predict a target reach the head
    hidden = output.last_hidden_state.flatten(0, 1).index_select(0, score_index)
    config = model.config.get_text_config()
    # what a model's own forward does between hidden states and logits: Cohere multiplies, Granite divides
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    head = model.get_output_embeddings()
    log_probs = token_log_probs(
        hidden if scale == 1 else hidden * scale,
        head.weight,
        targets,
        bias=head.bias,
        softcap=getattr(config, "final_logit_softcapping", None),
    )
    if not with_router_loss:
        return log_probs
    return log_probs, load_balancing_loss(model, getattr(output, "router_logits", None), attention_mask)


def _without_head(model: PreTrainedModel) -> torch.nn.Module:
    """The module that computes the hidden states.

    ``base_model`` is the model itself where the model's prefix is that of a larger one: Llama 4's language model has a
    head of its own inside the multimodal model.
    """
    if model.base_model is not model:
        return model.base_model
    decoder = model.get_decoder()
    return model.model if decoder is model else _without_head(decoder)


def _mask_argument(model: PreTrainedModel, mask: Tensor | None, position_ids: Tensor) -> Any:
    """transformers passes a 4-D mask to every layer unchanged, so a model with several kinds of layers needs one for
    each kind."""
    if mask is None or mask.dim() == 2:
        return mask
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    # a config without layer types has one kind of layer, which has a window if the config has one
    if not kinds:
        return _as_added(model, _narrowed(mask, position_ids, "sliding_attention", config))
    masks = {kind: _as_added(model, _narrowed(mask, position_ids, kind, config)) for kind in kinds}
    return masks if len(masks) > 1 else masks.popitem()[1]


def _narrowed(mask: Tensor, position_ids: Tensor, kind: str, config: PretrainedConfig) -> Tensor:
    """``mask`` [1, 1, N, N] restricted for one kind of layer. Windows and chunks are measured in ``position_ids``,
    which restart within a packed row, not in the tokens' indices."""
    queries, keys = position_ids[0, :, None], position_ids[0, None, :]
    window = getattr(config, "sliding_window", None)
    if kind == "sliding_attention" and window and getattr(config, "use_sliding_window", True):
        return mask & (keys > queries - window)
    if kind == "chunked_attention":
        return mask & (keys // config.attention_chunk_size == queries // config.attention_chunk_size)
    return mask


def _as_added(model: PreTrainedModel, mask: Tensor) -> Tensor:
    """Eager attention expects an additive mask; the others expect True where attention is allowed."""
    if _implementation(model) != "eager":
        return mask
    lowest = torch.finfo(model.dtype).min
    return torch.zeros_like(mask, dtype=model.dtype).masked_fill_(~mask, lowest)


def set_scoring_path(model: PreTrainedModel, path: ScoringPath) -> None:
    """Switch to the attention implementation that ``path`` needs."""
    _attend(model, attention.NAME if path == "packed" else _own_implementation(model))


@contextlib.contextmanager
def plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside this context the model uses transformers' own attention, as generation and the self-check need it."""
    before = _implementation(model)
    _attend(model, _own_implementation(model))
    try:
        yield
    finally:
        _attend(model, before)


def _implementation(model: PreTrainedModel) -> str:
    return attention_implementation(model.get_decoder())


def _attend(model: PreTrainedModel, implementation: str) -> None:
    """Set the implementation for the language model only: encoders of images or sound may not support it."""
    model.get_decoder().set_attn_implementation(implementation)


def _own_implementation(model: PreTrainedModel) -> str:
    # SDPA silently ignores soft-capping (Gemma 2)
    capped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None)
    return "sdpa" if supports_sdpa(model.get_decoder()) and not capped else "eager"
