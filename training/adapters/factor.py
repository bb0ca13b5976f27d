# SPDX-License-Identifier: Apache-2.0
"""The two factors of an adapter, which keep float32 weights and compute in the dtype of their input.

PEFT instead converts every input of an adapter to float32, which over a 16-bit model doubles what is kept for the
backward pass and leaves the products to units that are many times slower. A float32 copy of the weights is what
training needs, as 16 bits would round small updates away.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

ADAPTER = "default"
"""PEFT's name for the adapter that is trained."""


class Factor(nn.Linear):
    """``lora_A`` or ``lora_B`` of a layer, with the weight and bias of the PEFT module it stands in for.

    ``frozen`` [rank, in] or [out, rank] is the same factor of a second product that is computed along, and not saved.
    """

    frozen: Tensor | None

    def __init__(self, linear: nn.Linear, along: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.along = along  # the dimension of the rank
        self.register_buffer("frozen", None, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.weight
        if self.frozen is not None:
            weight = torch.cat([weight, self.frozen.to(weight.dtype)], dim=self.along)
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        return nn.functional.linear(inputs, weight.to(inputs.dtype), bias)


def adapted(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """The layers of ``model`` with a trained adapter, by their names in the base model."""
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A:
            yield name, module


def install_factors(model: PeftModel) -> None:
    """Have all adapters compute in the dtype of the base model; DoRA's stay in float32, as a norm that is rounded to 16
    bits would change the model it starts from. PEFT rounds the first norms so, which are set again."""
    for _, layer in adapted(model):
        layer.lora_A[ADAPTER] = Factor(layer.lora_A[ADAPTER], 0)
        layer.lora_B[ADAPTER] = Factor(layer.lora_B[ADAPTER], 1)
        layer.cast_input_dtype_enabled = layer.use_dora[ADAPTER]
        if layer.use_dora[ADAPTER]:
            weight = dequantize_module_weight(layer.get_base_layer()).detach().float()
            norms = torch.linalg.norm(weight, dim=0 if layer.fan_in_fan_out else 1)
            layer.lora_magnitude_vector[ADAPTER].weight.data = norms
