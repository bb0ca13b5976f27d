# SPDX-License-Identifier: Apache-2.0
"""Whether every trained weight gets a gradient in every step, as DDP assumes unless told otherwise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def may_lack_gradients(model: PreTrainedModel) -> bool:
    """Whether a step may leave trained weights without a gradient: experts in modules of their own that were not
    routed to, or layers that reuse another layer's keys and values.

    One token, which routes to the fewest experts, is run through ``model``. Its autograd graph is then followed from
    the logits back to the weights, as DDP's own search does. No gradient is computed.
    """
    was_training = model.training
    model.eval()
    options = {"use_cache": False}
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        # the router loss does not matter here, and some models cannot compute it for one token
        options["output_router_logits"] = False
    try:
        with torch.enable_grad():
            one_token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            reached = _weights_behind(model(input_ids=one_token, **options).logits)
    finally:
        model.train(was_training)
    return any(weight.requires_grad and id(weight) not in reached for weight in model.parameters())


def _weights_behind(output: Tensor) -> set[int]:
    """Ids of the parameters that autograd would give a gradient."""
    found: set[int] = set()
    seen, ahead = set(), [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # a graph's leaves are AccumulateGrad nodes, which hold their parameter as `variable`
        if isinstance(leaf := getattr(node, "variable", None), nn.Parameter):
            found.add(id(leaf))
        ahead += [following for following, _ in node.next_functions]
    return found
