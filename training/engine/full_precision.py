# SPDX-License-Identifier: Apache-2.0
"""Float32 forwards of a model in 16 bit, for a result that its own rounding does not blur."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_HALF = (torch.bfloat16, torch.float16)


def has_half_weights(model: nn.Module) -> bool:
    """Whether `in_float32` makes a difference to the model's forward."""
    return any(weight.dtype in _HALF for weight in model.parameters())


@contextlib.contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Within, forwards without gradient compute in float32 from the 16-bit weights.

    The weights of a layer are widened as its forward begins and put back as it ends, so only one layer's copy exists at
    a time. Quantized weights are computed with as ever.
    """
    hooks: list[Any] = []
    for module, weights in _units(model):
        if half := [weight for weight in weights if weight.dtype in _HALF]:
            hooks += _hooked(module, half)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _units(module: nn.Module) -> Iterator[tuple[nn.Module, list[nn.Parameter]]]:
    """Modules with the weights that are widened together: those of a whole layer, as some compute with the weights of
    modules inside them; with ZeRO-3, which gathers module by module, each module's own."""
    if isinstance(module, nn.ModuleList) and not any(hasattr(p, "ds_id") for p in module.parameters()):
        yield from ((layer, list(layer.parameters())) for layer in module)
        return
    yield module, list(module.parameters(recurse=False))
    for child in module.children():
        yield from _units(child)


def _hooked(module: nn.Module, weights: list[nn.Parameter]) -> Iterator[Any]:
    held: list[list[Tensor]] = []

    def widen(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        held.append([weight.data for weight in weights])
        for weight in weights:
            weight.data = weight.data.float()
        return tuple(map(_widened, args)), {name: _widened(value) for name, value in kwargs.items()}

    def put_back(*_: Any) -> None:
        for weight, data in zip(weights, held.pop(), strict=True):
            weight.data = data

    yield module.register_forward_pre_hook(widen, with_kwargs=True)
    # before the hook that lets gathered weights go, which must find them as they were
    yield module.register_forward_hook(put_back, always_call=True, prepend=True)


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value
