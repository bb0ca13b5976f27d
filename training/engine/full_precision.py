# SPDX-License-Identifier: Apache-2.0
"""Float32 forward passes of a 16-bit model, for a result free of 16-bit rounding."""

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
    """Inside this context, forward passes without gradient compute in float32 from the 16-bit weights.

    A layer's weights are upcast when its forward begins and restored when it ends, so only one layer's copy exists at
    a time. Quantized weights are left alone.
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
    """Modules, each with the weights to upcast together.

    Usually these are all weights of a layer, because some layers compute with the weights of modules inside them.
    ZeRO-3 gathers module by module, so there each module upcasts its own.
    """
    # ds_id marks a parameter that ZeRO-3 has partitioned
    if isinstance(module, nn.ModuleList) and not any(hasattr(p, "ds_id") for p in module.parameters()):
        yield from ((layer, list(layer.parameters())) for layer in module)
        return
    yield module, list(module.parameters(recurse=False))
    for child in module.children():
        yield from _units(child)


def _hooked(module: nn.Module, weights: list[nn.Parameter]) -> Iterator[Any]:
    held: list[list[Tensor]] = []

    def upcast(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        held.append([weight.data for weight in weights])
        for weight in weights:
            weight.data = weight.data.float()
        return tuple(map(_upcast, args)), {name: _upcast(value) for name, value in kwargs.items()}

    def restore(*_: Any) -> None:
        for weight, data in zip(weights, held.pop(), strict=True):
            weight.data = data

    yield module.register_forward_pre_hook(upcast, with_kwargs=True)
    # runs before the hook that releases gathered weights, which has to see the original tensors
    yield module.register_forward_hook(restore, always_call=True, prepend=True)


def _upcast(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value
