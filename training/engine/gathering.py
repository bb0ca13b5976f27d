# SPDX-License-Identifier: Apache-2.0
"""Whole weights for a model in shards: ZeRO-3's gathering for forwards that run outside DeepSpeed's engine.

The engine gathers the weights of the modules it wraps. Before it exists (the self-check, evaluation of the untrained
model) and for models it never trains (a reference), each module's weights are gathered here as its forward begins and
let go as it ends. That is collective: every worker runs the same forwards in the same order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn

from tadrib.training.compat.deepspeed import whole


@contextlib.contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Within, forwards of ``model`` without gradient see whole weights. Does nothing where they are whole anyway, or
    DeepSpeed's engine has taken the model over."""
    if hasattr(model, "ds_id") or not any(hasattr(p, "ds_id") for p in model.parameters()):
        yield
        return
    held: list[contextlib.AbstractContextManager] = []

    def gather(module: nn.Module, _: Any) -> None:
        held.append(whole(_own_weights(module, model)))
        held[-1].__enter__()

    def let_go(*_: Any) -> None:
        held.pop().__exit__(None, None, None)

    hooks = []
    for module in model.modules():
        hooks.append(module.register_forward_pre_hook(gather))
        hooks.append(module.register_forward_hook(let_go, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """A state dict of whole weights in main memory. Collective."""
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        with whole([tensor]):
            state[name] = tensor.detach().cpu().clone()
    return state


def _own_weights(module: nn.Module, model: nn.Module) -> list[nn.Parameter]:
    """The module's direct weights; to the whole model belongs the head's, which scoring reads without calling it."""
    own = list(module.parameters(recurse=False))
    if module is not model:
        return own
    head: nn.Module = cast(Any, model).get_output_embeddings()
    return [*own, *head.parameters()]
