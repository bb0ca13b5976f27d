# SPDX-License-Identifier: Apache-2.0
"""Whether every trained weight gets a gradient in every step, as DDP takes for granted unless it is told to look."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def may_lack_gradients(model: PreTrainedModel) -> bool:
    """Whether a step may leave trained weights without a gradient: experts that are modules of their own and were not
    chosen, layers that share another's keys and values.

    One token, of which a mixture chooses the fewest experts, runs through ``model``, and from the logits its graph is
    followed back to the weights, as DDP's own search does; nothing is differentiated.
    """
    was_training = model.training
    model.eval()
    options = {"use_cache": False}
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        # the router's loss is not what is looked for, and some models cannot compute it
        options["output_router_logits"] = False
    try:
        with torch.enable_grad():
            one_token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            reached = _weights_behind(model(input_ids=one_token, **options).logits)
    finally:
        model.train(was_training)
    return any(weight.requires_grad and id(weight) not in reached for weight in model.parameters())


def _weights_behind(output: Tensor) -> set[int]:
    """Ids of the leaves that autograd would give a gradient."""
    found: set[int] = set()
    seen, ahead = set(), [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(leaf := getattr(node, "variable", None), nn.Parameter):
            found.add(id(leaf))
        ahead += [following for following, _ in node.next_functions]
    return found
