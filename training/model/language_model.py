# SPDX-License-Identifier: Apache-2.0
"""The language model inside a model that also takes images or sound: the part that rows of text train.

No text passes the encoders and projectors beside it, so their weights get no gradient, or that of a placeholder. They
stay as they are, in full fine-tuning as with adapters, and what is saved is the whole model with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn
from transformers import PreTrainedModel

from tadrib.training.notices import warn


def other_parts(model: PreTrainedModel) -> list[str]:
    """Names of the largest parts, modules or single weights, that lie outside the language model and its head; none in
    a model of text alone."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    if model.config.get_text_config(decoder=True) is model.config:
        decoder = model.base_model
    return list(_outside(model, "", decoder, head))


def lies_in(name: str, parts: Iterable[str]) -> bool:
    """Whether a module or weight of this ``name`` belongs to one of ``parts``."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def freeze_other_parts(model: PreTrainedModel) -> None:
    """Train the language model alone, and say so where the model is more than that."""
    parts = other_parts(model)
    for name, weight in model.named_parameters():
        if lies_in(name, parts):
            weight.requires_grad_(False)
    tell_of_others(model, parts)


def tell_of_others(model: PreTrainedModel, parts: list[str]) -> None:
    """Say which ``parts`` stay as they are, if any do."""
    if parts:
        count = sum(weight.numel() for name, weight in model.named_parameters() if lies_in(name, parts))
        warn(
            f"{', '.join(parts)} ({count:,} weights) stay as they are: rows are text, which trains the language model"
            f" of a {type(model).__name__} alone"
        )


def _outside(module: nn.Module, prefix: str, decoder: nn.Module, head: nn.Module | None) -> Iterator[str]:
    if module is decoder:
        yield from (
            f"{prefix}{name}" for name, child in module.named_children() if _has_encoder(child, decoder)
        )
        return
    yield from (f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False))
    for name, child in module.named_children():
        inner = set(child.modules())
        if decoder in inner:
            yield from _outside(child, f"{prefix}{name}.", decoder, head)
        elif head not in inner and any(True for _ in child.parameters()):
            yield f"{prefix}{name}"


def _has_encoder(module: nn.Module, decoder: nn.Module) -> bool:
    """Whether there is a model of another kind inside, as where encoders hang at the embedding."""
    models = (inner for inner in module.modules() if isinstance(inner, PreTrainedModel))
    return any(type(inner.config) is not type(decoder.config) for inner in models)
