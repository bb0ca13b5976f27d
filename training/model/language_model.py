# SPDX-License-Identifier: Apache-2.0
"""The language model inside a multimodal model: the part that rows of text train.

Text does not pass through the encoders and projectors of images or sound, so their weights get no meaningful gradient.
They are frozen, in full fine-tuning as with adapters, and saved with the rest of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn
from transformers import PreTrainedModel

from tadrib.training.notices import warn


def other_parts(model: PreTrainedModel) -> list[str]:
    """Names of the modules or weights outside the language model and its head, as few and large as possible; empty for
    a text-only model."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    if model.config.get_text_config(decoder=True) is model.config:
        decoder = model.base_model
    return list(_outside(model, "", decoder, head))


def lies_in(name: str, parts: Iterable[str]) -> bool:
    """Whether the module or weight ``name`` belongs to one of ``parts``."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def freeze_other_parts(model: PreTrainedModel) -> None:
    """Freeze everything but the language model, with a warning if there is anything else."""
    parts = other_parts(model)
    for name, weight in model.named_parameters():
        if lies_in(name, parts):
            weight.requires_grad_(False)
    warn_about_frozen_parts(model, parts)


def warn_about_frozen_parts(model: PreTrainedModel, parts: list[str]) -> None:
    """Warn which ``parts`` are not trained, if there are any."""
    if parts:
        count = sum(weight.numel() for name, weight in model.named_parameters() if lies_in(name, parts))
        warn(
            f"{', '.join(parts)} ({count:,} weights) are not trained: rows of text train only the language model of a"
            f" {type(model).__name__}"
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
    """Whether ``module`` contains another kind of model, such as an encoder attached to the embedding."""
    models = (inner for inner in module.modules() if isinstance(inner, PreTrainedModel))
    return any(type(inner.config) is not type(decoder.config) for inner in models)
