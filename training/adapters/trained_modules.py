# SPDX-License-Identifier: Apache-2.0
"""Modules that are trained whole beside the adapters (``modules_to_save``).

Like all trained weights, they are kept in float32, because 16 bits would round small updates away. They compute in the
dtype of the base model, so that nothing after them turns into float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftModel
from peft.utils import ModulesToSaveWrapper
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel

from tadrib.training.adapters.adapted_layers import Advice, Layers
from tadrib.training.adapters.factor import ADAPTER
from tadrib.training.errors import nearest


def problems_of_modules(names: list[str], layers: Layers) -> Iterator[Advice]:
    """A problem for every name that no module has, or one that cannot be trained whole."""
    for name in names:
        found = layers.named(name)
        weights = [weight for each in found for weight in layers.modules[each].parameters()]
        if not found:
            last = {
                each.rpartition(".")[2] for each, module in layers.modules.items() if _has_weights(module)
            }
            close = nearest(name, sorted(last))
            yield (
                f"the model has no module {name}.",
                f"Did you mean {close}?" if close else "Write [embed_tokens, lm_head].",
            )
        elif not weights:
            yield f"{name} has no weights to train.", "Remove it."
        elif not all(weight.is_floating_point() for weight in weights):
            yield (
                f"{name} is quantized, and quantized weights cannot be trained themselves.",
                "Remove it, or load_in_4bit and load_in_8bit.",
            )


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def is_tied(model: PreTrainedModel, names: list[str]) -> bool:
    """Whether ``names`` select the embedding or the head of a model in which both are one matrix."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return False
    modules = dict(model.named_modules())
    ends = {key for key, module in modules.items() if module is head or module is embedding}
    return any(end == name or end.endswith(f".{name}") for end in ends for name in names)


def keep_in_float32(model: PeftModel) -> None:
    """Keep the modules of ``modules_to_save`` in float32, computing in the dtype of the ones they replace."""
    for wrapper in model.modules():
        if isinstance(wrapper, ModulesToSaveWrapper) and ADAPTER in wrapper.modules_to_save:
            dtype = next(wrapper.original_module.parameters()).dtype
            if dtype != torch.float32:
                _compute_in(wrapper.modules_to_save[ADAPTER].float(), dtype)


class _OwnForward(nn.Module):
    """The forward of ``inner``'s class, past one that was set on the module itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.inner).forward(self.inner, *args, **kwargs)


def _compute_in(module: nn.Module, dtype: torch.dtype) -> None:
    """Have ``module`` compute in the dtype of its input; in ``dtype`` where that is token ids."""
    own = _OwnForward(module)

    def forward(*args: Any, **kwargs: Any) -> Any:
        given = (each.dtype for each in args if isinstance(each, torch.Tensor) and each.is_floating_point())
        into = next(given, dtype)
        weights = {name: weight.to(into) for name, weight in own.named_parameters()}
        return functional_call(own, weights, args, kwargs)

    module.forward = forward
