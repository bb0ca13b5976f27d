# SPDX-License-Identifier: Apache-2.0
"""The load-balancing loss of mixtures of experts, where a model's config.json asks for it.

``output_router_logits: true`` makes transformers' own forward add ``router_aux_loss_coef`` times the loss of Switch
Transformer (https://arxiv.org/abs/2101.03961, equations 4 to 6); with its default, false, nothing is added. It is the
model's own function that is called here, as it is the model's router whose logits it takes.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tadrib.training.data.group import Group
from tadrib.training.engine.collate import collate
from tadrib.training.engine.gathering import gathered
from tadrib.training.errors import Problem, SpecError

_COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef", "aux_loss_alpha")
"""What models call it, in the order they are looked up."""
_FUNCTION = "load_balancing_loss_func"
_TAKES = ["gate_logits", "num_experts", "top_k", "attention_mask"]


def router_coefficient(model: PreTrainedModel) -> float:
    """The weight of the load-balancing loss in the training loss; 0.0 where config.json does not ask for it."""
    config = model.config.get_text_config()
    if not getattr(config, "output_router_logits", False):
        return 0.0
    found = (getattr(owner, name, None) for owner in (model, config) for name in _COEFFICIENTS)
    return float(next((value for value in found if value is not None), 0.0))


def load_balancing_loss(
    model: PreTrainedModel, router_logits: tuple[Tensor, ...] | None, attention_mask: Tensor | None
) -> Tensor:
    """The loss of all layers' routers, without its coefficient, a float32 scalar.

    ``router_logits`` holds [tokens, experts] of each layer. ``attention_mask`` [C, L] leaves padding out; rows without
    padding have none, or one of four dimensions. Raises SpecError for a model that cannot compute it.
    """
    function = _function(model)
    if function is None or not router_logits:
        raise _not_computable(
            model, "gives no router logits" if function else f"has no {_FUNCTION}({', '.join(_TAKES)})"
        )
    padding = attention_mask if attention_mask is not None and attention_mask.dim() == 2 else None
    return function(router_logits, model.num_experts, model.num_experts_per_tok, padding)


def _function(model: PreTrainedModel) -> Callable[..., Tensor] | None:
    """The model's own, which stands beside its class; None where there is none or it takes something else."""
    function = getattr(sys.modules[type(model).__module__], _FUNCTION, None)
    has_experts = hasattr(model, "num_experts") and hasattr(model, "num_experts_per_tok")
    if function is None or not has_experts or list(inspect.signature(function).parameters) != _TAKES:
        return None
    return function


def require_router_loss(model: PreTrainedModel, group: Group) -> None:
    """Compute the loss of ``group`` once, before anything else. Raises SpecError for a model that cannot."""
    batch = collate([group], path="separate").to(model.device)
    with torch.no_grad(), gathered(model):
        model(**batch.model_inputs(), with_router_loss=True)


def _not_computable(model: PreTrainedModel, why: str) -> SpecError:
    coefficient = router_coefficient(model)
    message = (
        f"config.json of {model.config.name_or_path} has output_router_logits: true, so {coefficient} of a"
        f" load-balancing loss belongs to the training loss, but {type(model).__name__} {why} to compute it from."
    )
    action = "Set output_router_logits: false in that config.json to train without this loss."
    return SpecError(
        "the model's load-balancing loss cannot be computed", [Problem("model_name", message, action)]
    )
