# SPDX-License-Identifier: Apache-2.0
"""bitsandbytes 0.50.2: 4-bit layers that stay differentiable on CPUs with AVX512_BF16.

On those it turns the weights at the first evaluation into a layout that has no backward, with scales rounded to
bfloat16, and does not turn them back for training: layers with a bias raise, and those without pass no gradient on.
https://github.com/bitsandbytes-foundation/bitsandbytes/blob/0.50.2/bitsandbytes/nn/modules.py
"""

from __future__ import annotations

from torch import nn

MADE_FOR = "0.50.2"


def keep_differentiable_layout(model: nn.Module) -> None:
    """No rearranging of 4-bit weights for inference."""
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
