# SPDX-License-Identifier: Apache-2.0
"""A base model's weights as a quantized model computes with them: quantized by bitsandbytes, and back again.

A QLoRA adapter (Dettmers et al. 2023, arXiv 2305.14314) was trained on these, and not on the weights in the file.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tadrib.training.model.weight_files.source_weights import Weights


class DequantizedWeights:
    """``base`` with the weights of the quantized layers of ``model``, which is loaded from it, in their place."""

    def __init__(self, base: Weights, model: nn.Module) -> None:
        self.title, self._base = base.title, base
        # PEFT's layers hold the one that they adapt as base_layer
        modules = ((name.removesuffix(".base_layer"), module) for name, module in model.named_modules())
        known = set(base.names)
        self._quantized = {
            f"{name}.weight": module
            for name, module in modules
            if f"{name}.weight" in known and _is_quantized(module)
        }
        self._last: tuple[str, Tensor] | None = None

    @property
    def names(self) -> list[str]:
        return self._base.names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._base.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        return self._base.dtype(name)

    def rows(self, name: str, first: int, end: int) -> Tensor:
        if name not in self._quantized:
            return self._base.rows(name, first, end)
        if self._last is None or self._last[0] != name:  # double quantization works on whole tensors
            self._last = (name, _dequantized(self._quantized[name]))
        return self._last[1][first:end].float()


def _is_quantized(module: nn.Module) -> bool:
    if hasattr(module, "base_layer"):
        return False
    return type(getattr(module, "weight", None)).__name__ in ("Params4bit", "Int8Params")


def _dequantized(module: nn.Module) -> Tensor:
    """The layer's weight [out, in], in the dtype that it computes in."""
    from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant

    weight: Any = module.weight
    if hasattr(weight, "quant_state"):
        return dequantize_4bit(weight.data, weight.quant_state).cpu()
    state: Any = module.state
    scales = weight.SCB if weight.SCB is not None else state.SCB  # the first forward pass moves them
    return int8_vectorwise_dequant(weight.data, scales).cpu()
