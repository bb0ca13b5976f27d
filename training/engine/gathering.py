# SPDX-License-Identifier: Apache-2.0
"""Gather the weights of a ZeRO-3 model for forward passes that run outside DeepSpeed's engine.

The engine gathers the weights of the modules it wraps. Two cases fall outside it: before it exists (the self-check,
evaluation of the untrained model) and models it never trains (a reference). There, each module's weights are gathered
here when its forward begins and released when it ends. Collective: every worker runs the same forwards in the same
order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn

from tadrib.training.compat.deepspeed import whole


@contextlib.contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Inside this context, forward passes of ``model`` without gradient see full weights.

    Does nothing if the weights are not partitioned, or if DeepSpeed's engine already wraps the model.
    """
    # ds_id: on a parameter it means "partitioned", on the model that DeepSpeed's engine owns it
    if hasattr(model, "ds_id") or not any(hasattr(p, "ds_id") for p in model.parameters()):
        yield
        return
    held: list[contextlib.AbstractContextManager] = []

    def gather(module: nn.Module, _: Any) -> None:
        held.append(whole(_own_weights(module, model)))
        held[-1].__enter__()

    # forwards nest like the modules do, so the one that ends is always the last that began
    def release(*_: Any) -> None:
        held.pop().__exit__(None, None, None)

    hooks = []
    for module in model.modules():
        hooks.append(module.register_forward_pre_hook(gather))
        hooks.append(module.register_forward_hook(release, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def full_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """A state dict of full weights in CPU memory. Collective."""
    state = {}
    # one tensor at a time: no device has to hold the whole model
    for name, tensor in model.state_dict(keep_vars=True).items():
        with whole([tensor]):
            state[name] = tensor.detach().cpu().clone()
    return state


def _own_weights(module: nn.Module, model: nn.Module) -> list[nn.Parameter]:
    """The module's direct weights; for the model itself also the head's, which scoring reads without a call."""
    own = list(module.parameters(recurse=False))
    if module is not model:
        return own
    head: nn.Module = cast(Any, model).get_output_embeddings()
    return [*own, *head.parameters()]
