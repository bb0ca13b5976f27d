# SPDX-License-Identifier: Apache-2.0
"""Adapters that start from the weights: PiSSA (arXiv 2404.02948), OLoRA (arXiv 2406.01775), LoftQ (arXiv 2310.08659).

Their first product ``s B0 A0`` is not zero. PEFT takes PiSSA's and OLoRA's out of the base weights, so that base and
adapter together are the model. Here the base keeps its weights, and the layer computes ``W x + s (B A - B0 A0) x``:
the same function and the same gradients, but with the adapters off exactly the model remains that training starts
from, which is the reference. What is saved is ``B A - B0 A0``, one adapter of the original base.

LoftQ's product makes up for what 4 bits round away, so training starts from ``W_q + s B0 A0``: with its adapters off, a
layer therefore adds the first product.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from safetensors import safe_open
from torch import Tensor, nn

from tadrib.training.adapters.factor import ADAPTER, Factor, adapted
from tadrib.training.config import CommonConfig
from tadrib.training.config.rules.lora import is_principal
from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.starting_adapter import Factors, LowRank

_KEY = "init_lora_weights"
_NAME = "initial"


def start_from_weights(model: PeftModel, config: CommonConfig) -> None:
    """Give new adapters the first product that ``init_lora_weights`` asks for, if it is one computed from weights.

    Call it after `install_factors`. Raises SpecError for a rank that a layer's weights do not have, and where LoftQ
    does not find the weights before quantization.
    """
    start = config.init_lora_weights
    if is_principal(start):
        for name, layer in adapted(model):
            _split_off(layer, start)
            _require_rank(name, layer, start)
            for factor in _factors(layer):
                factor.frozen = factor.weight.detach().clone()
            layer.lora_B[ADAPTER].frozen.neg_()
    elif start == "loftq":
        read = _weights_before_quantization(model, config)
        for name, layer in adapted(model):
            _take_up_rounding(layer, read(f"{name}.weight"))
            _require_rank(name, layer, start)
            _add_when_off(layer)


def initial_factors(model: nn.Module) -> dict[str, Factors]:
    """The product ``- s B0 A0`` that the layers of PiSSA and OLoRA compute beside their adapters, by layer name."""
    if not isinstance(model, PeftModel):
        return {}
    return {
        name: Factors(down.frozen.float().cpu(), up.frozen.float().cpu(), layer.scaling[ADAPTER])
        for name, layer in adapted(model)
        for down, up in [_factors(layer)]
        if down.frozen is not None and up.frozen is not None
    }


def restore_initial_factors(model: PeftModel, factors: dict[str, dict[str, Tensor]]) -> None:
    """Set the frozen ``lora_A`` and ``lora_B`` of layers that have them to the first rows and columns of a
    checkpoint's. A decomposition is not the same to the bit on all machines."""
    for name, layer in adapted(model):
        for kind, factor in zip(("lora_A", "lora_B"), _factors(layer), strict=True):
            if factor.frozen is not None:
                rank = factor.frozen.shape[factor.along]
                factor.frozen = factors[name][kind].narrow(factor.along, 0, rank).to(factor.weight)


def _factors(layer: LoraLayer) -> tuple[Factor, Factor]:
    return layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]


def _split_off(layer: LoraLayer, start: str) -> None:
    """Set the adapter's weights as PEFT does, and the base's back to what they were."""
    base = layer.get_base_layer().weight
    kept = base.data.clone()
    with torch.no_grad():
        if start == "olora":
            layer.olora_init(ADAPTER)
        else:
            layer.pissa_init(ADAPTER, start)
    layer.get_base_layer().weight.data = kept
    for factor in _factors(layer):
        factor.weight.data = factor.weight.data.float().contiguous()


def _take_up_rounding(layer: LoraLayer, weight: Tensor) -> None:
    """The best product of the adapter's rank for ``W - W_q``, by singular values, each factor with their roots."""
    rounded = dequantize_module_weight(layer.get_base_layer()).float()
    left, values, right = torch.linalg.svd(weight.to(rounded) - rounded, full_matrices=False)
    rank, down, up = layer.r[ADAPTER], *_factors(layer)
    root = (values[:rank] / layer.scaling[ADAPTER]).sqrt()
    down.weight.data = (root[:, None] * right[:rank]).contiguous()
    up.weight.data = (left[:, :rank] * root).contiguous()


def _add_when_off(layer: LoraLayer) -> None:
    down, up = (factor.weight.detach().clone() for factor in _factors(layer))
    product = LowRank(Factors(down, up, layer.scaling[ADAPTER]), down.device)
    layer.register_module(_NAME, product)
    layer.register_forward_hook(
        lambda module, inputs, output: (
            getattr(module, _NAME)(inputs[0], output) if module.disable_adapters else output
        )
    )


def _require_rank(name: str, layer: LoraLayer, start: str) -> None:
    rank, down, up = layer.r[ADAPTER], *_factors(layer)
    due = (rank, down.in_features), (up.out_features, rank)
    if (tuple(down.weight.shape), tuple(up.weight.shape)) == due:
        return
    if isinstance(layer.get_base_layer(), nn.Linear):
        least = min(down.in_features, up.out_features)
        found = (
            f"{rank} for {name} with {_KEY}: {start}, but its weights have no more than {least} directions."
        )
        raise SpecError("LoRA cannot be set up", [Problem("lora_r", found, f"Set lora_r: {least} or less.")])
    found = f"{start} for {name}, a {type(layer.get_base_layer()).__name__}, which PEFT cannot decompose."
    raise SpecError("LoRA cannot be set up", [Problem(_KEY, found, f"Set {_KEY}: pissa, or remove it.")])


def _weights_before_quantization(model: PeftModel, config: CommonConfig) -> Callable[[str], Tensor]:
    """A function that reads a weight by name from the safetensors files of the base model."""
    place: dict[str, Path] = {}
    for file in sorted(_folder(model.get_base_model().name_or_path, config).glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            place |= dict.fromkeys(tensors.keys(), file)

    def read(name: str) -> Tensor:
        prefix = f"{model.get_base_model().base_model_prefix}."
        stored = next((each for each in (name, name.removeprefix(prefix)) if each in place), None)
        if stored is None:
            found = f"loftq, but no weight {name} is stored under that name, so what 4 bits round away is not known."
            raise SpecError("LoRA cannot be set up", [Problem(_KEY, found, f"Remove {_KEY}.")])
        with safe_open(place[stored], framework="pt") as tensors:
            return tensors.get_tensor(stored)

    return read


def _folder(name: str, config: CommonConfig) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=config.model_revision, allow_patterns=["*.safetensors"]))
