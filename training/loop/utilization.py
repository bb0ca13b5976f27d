# SPDX-License-Identifier: Apache-2.0
"""Model FLOPs utilization: the share of the GPUs' peak that training uses (PaLM, arXiv 2204.02311, appendix B)."""

from __future__ import annotations

import torch

# Dense bfloat16 tensor-core FLOPs per second, from NVIDIA's data sheets. The first name contained in the device's wins,
# so longer names come before their prefixes.
_PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "A30": 165e12,
}


def flops_per_token(model: torch.nn.Module) -> float:
    """FLOPs per token: for each weight 2 forward and 2 for the gradient of activations, and 2 more if it is trained.

    Attention scores are not counted, which at long contexts makes the utilization too low; nor is recomputation by
    activation checkpointing, which model FLOPs leave out by definition (hardware FLOPs have it).
    """
    sizes = [(_size(weight), weight.requires_grad) for weight in model.parameters()]
    return sum(size * (6.0 if trained else 4.0) for size, trained in sizes)


def _size(weight: torch.nn.Parameter) -> int:
    """Elements of the full weight, also for a shard (DeepSpeed) or packed 4-bit values (bitsandbytes)."""
    if (state := getattr(weight, "quant_state", None)) is not None:
        return int(state.shape.numel())
    return int(getattr(weight, "ds_numel", weight.numel()))


def peak_of(device_name: str) -> float | None:
    """Peak FLOPs per second of the GPU with this name; None if it is not known."""
    return next((peak for name, peak in _PEAKS.items() if name in device_name), None)


def utilization(tokens_per_second: float, flops: float, workers: int) -> float | None:
    """Share (0 to 1) of the peak of ``workers`` GPUs like this one, at ``flops`` per token; None if it is unknown."""
    if not torch.cuda.is_available():
        return None
    peak = peak_of(torch.cuda.get_device_name())
    return None if peak is None else tokens_per_second * flops / (workers * peak)
