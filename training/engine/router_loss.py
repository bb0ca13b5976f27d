# SPDX-License-Identifier: Apache-2.0
"""The load-balancing loss of mixture-of-experts models whose config.json enables it.

With ``output_router_logits: true``, transformers' own forward adds ``router_aux_loss_coef`` times the loss of Switch
Transformer (https://arxiv.org/abs/2101.03961, equations 4 to 6). The default, false, adds nothing. The loss is computed
by the model's own function, from the model's own router logits.
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
"""Names that models give the coefficient, in lookup order."""
_FUNCTION = "load_balancing_loss_func"
_PARAMETERS = ["gate_logits", "num_experts", "top_k", "attention_mask"]


def router_coefficient(model: PreTrainedModel) -> float:
    """The weight of the load-balancing loss in the training loss; 0.0 unless config.json enables it."""
    config = model.config.get_text_config()
    if not getattr(config, "output_router_logits", False):
        return 0.0
    found = (getattr(owner, name, None) for owner in (model, config) for name in _COEFFICIENTS)
    return float(next((value for value in found if value is not None), 0.0))


def load_balancing_loss(
    model: PreTrainedModel, router_logits: tuple[Tensor, ...] | None, attention_mask: Tensor | None
) -> Tensor:
    """The load-balancing loss over all layers' routers, without its coefficient: a float32 scalar.

    ``router_logits`` holds [tokens, experts] for each layer. ``attention_mask`` [C, L] excludes padding; without
    padding there is no mask, or a 4-D one. Raises SpecError if the model cannot compute the loss.
    """
    function = _function(model)
    if function is None or not router_logits:
        raise _not_computable(
            model, "returns no router logits" if function else f"has no {_FUNCTION}({', '.join(_PARAMETERS)})"
        )
    # a 4-D mask says who attends to whom, not which tokens are padding
    padding = attention_mask if attention_mask is not None and attention_mask.dim() == 2 else None
    return function(router_logits, model.num_experts, model.num_experts_per_tok, padding)


def _function(model: PreTrainedModel) -> Callable[..., Tensor] | None:
    """The model's own function, from the module of its class; None if it is absent or has other parameters."""
    function = getattr(sys.modules[type(model).__module__], _FUNCTION, None)
    has_experts = hasattr(model, "num_experts") and hasattr(model, "num_experts_per_tok")
    if function is None or not has_experts or list(inspect.signature(function).parameters) != _PARAMETERS:
        return None
    return function


def require_router_loss(model: PreTrainedModel, group: Group) -> None:
    """Compute the loss once, for ``group``, so that a model that cannot do it fails at start-up. Raises SpecError."""
    batch = collate([group], path="separate").to(model.device)
    with torch.no_grad(), gathered(model):
        model(**batch.model_inputs(), with_router_loss=True)


def _not_computable(model: PreTrainedModel, why: str) -> SpecError:
    coefficient = router_coefficient(model)
    message = (
        f"config.json of {model.config.name_or_path} has output_router_logits: true, which adds {coefficient} times a"
        f" load-balancing loss to the training loss, but {type(model).__name__} {why}."
    )
    action = "Set output_router_logits: false in that config.json to train without this loss."
    return SpecError(
        "the model's load-balancing loss cannot be computed", [Problem("model_name", message, action)]
    )
