# SPDX-License-Identifier: Apache-2.0
"""Model FLOPs utilization: which share of the GPUs' peak training uses (PaLM, arXiv 2204.02311, appendix B)."""

from __future__ import annotations

import torch

_PEAKS = {  # dense bfloat16 tensor-core operations a second, from NVIDIA's data sheets; the first name that fits counts
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


def operations_per_token(model: torch.nn.Module) -> float:
    """2 forward and 2 for the gradient of activations per weight, 2 more per trained weight; attention's own are left
    out, as are operations that recomputation repeats."""
    sizes = [(_size(weight), weight.requires_grad) for weight in model.parameters()]
    return sum(size * (6.0 if trained else 4.0) for size, trained in sizes)


def _size(weight: torch.nn.Parameter) -> int:
    """Its elements, of a shard (DeepSpeed) or of packed 4-bit values (bitsandbytes) those of the whole."""
    if (state := getattr(weight, "quant_state", None)) is not None:
        return int(state.shape.numel())
    return int(getattr(weight, "ds_numel", weight.numel()))


def peak_of(device_name: str) -> float | None:
    """Operations a second of a GPU by its name; None for one that is not known."""
    return next((peak for name, peak in _PEAKS.items() if name in device_name), None)


def utilization(tokens_per_second: float, operations: float, workers: int) -> float | None:
    """Share of the peak of ``workers`` GPUs like this one, 0 to 1; None where the peak is not known."""
    if not torch.cuda.is_available():
        return None
    peak = peak_of(torch.cuda.get_device_name())
    return None if peak is None else tokens_per_second * operations / (workers * peak)
