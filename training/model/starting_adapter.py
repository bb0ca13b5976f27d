# SPDX-License-Identifier: Apache-2.0
"""The adapter that training starts from: a frozen part of the base model, or merged into its weights.

Merging rounds most of a small adapter away in 16-bit weights, and nearly all of it in 4-bit weights. So when new
adapters are trained, the starting adapter stays separate: a frozen low-rank product, without dropout, added to each
layer's output. With the new adapters switched off, exactly the starting model remains, which is the reference. In full
fine-tuning the weights are in float32, and the starting adapter is merged into them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.adapter_folder import WEIGHTS_FILE, AdapterFolder
from tadrib.training.model.source import TITLE, unloadable
from tadrib.training.model.weights import wrong_names, wrong_shapes

_NAME = "start"
_ACTION = "The adapter was not made for this base model, or its file is incomplete: copy the folder again."
_UNFIT = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    SafetensorError,
)


@dataclass(frozen=True, slots=True)
class Factors:
    """A layer's ``scale * up @ down``: ``down`` [rank, in] and ``up`` [out, rank], float32, in CPU memory."""

    down: Tensor
    up: Tensor
    scale: float


class LowRank(nn.Module):
    """Adds a frozen low-rank product to a layer's output, computed in the dtype of its input."""

    def __init__(self, factors: Factors, device: torch.device) -> None:
        super().__init__()
        self.down = nn.Parameter(factors.down.to(device), requires_grad=False)
        self.up = nn.Parameter(factors.up.to(device), requires_grad=False)
        self.scale = factors.scale
        self.is_on = True

    def forward(self, inputs: Tensor, output: Tensor) -> Tensor:
        if not self.is_on:
            return output
        inner = nn.functional.linear(inputs, self.down.to(inputs.dtype))
        product = nn.functional.linear(inner, self.up.to(inputs.dtype))
        return (output + self.scale * product).to(output.dtype)


def attach_frozen(model: PreTrainedModel, adapter: AdapterFolder) -> PreTrainedModel:
    """``model`` with the adapter attached as a frozen part; `start_factors` returns its factors.

    Raises SpecError if the adapter does not belong to the model, or is more than plain LoRA on linear layers.
    """
    adapter.require_plain()
    head = model.get_output_embeddings()
    wrapped = _read(model, adapter)
    layers = {name: m for name, m in wrapped.get_base_model().named_modules() if isinstance(m, LoraLayer)}
    # scoring uses the head's weight directly and would bypass an adapter on it
    odd = [name for name, layer in layers.items() if not _is_plain(layer) or layer.get_base_layer() is head]
    adapter.require_plain(odd)
    factors = {name: _factors(layer) for name, layer in layers.items()}
    model = wrapped.unload()
    for name, each in factors.items():
        layer = model.get_submodule(name)
        layer.register_module(_NAME, LowRank(each, layer.weight.device))
        layer.register_forward_hook(lambda module, inputs, output: getattr(module, _NAME)(inputs[0], output))
    model.start_factors = factors
    return model


def open_frozen(model: PreTrainedModel, adapter: AdapterFolder) -> PeftModel:
    """``model`` with any kind of adapter, as peft opens it. Raises SpecError if it does not belong to the model."""
    wrapped = _read(model, adapter)
    return wrapped.requires_grad_(False).eval()


def start_factors(model: nn.Module) -> dict[str, Factors]:
    """What `attach_frozen` added to a model, by layer name; empty if training started from a full model."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    return getattr(base, "start_factors", {})


@contextlib.contextmanager
def without_starting_adapter(model: nn.Module) -> Iterator[None]:
    """Inside this context, ``model`` computes without what `attach_frozen` added."""
    parts = [module for module in model.modules() if isinstance(module, LowRank)]
    for part in parts:
        part.is_on = False
    try:
        yield
    finally:
        for part in parts:
            part.is_on = True


def merge(model: PreTrainedModel, adapter: AdapterFolder) -> PreTrainedModel:
    """``model`` with the adapter merged into its weights; any kind of adapter that peft can merge.

    Raises SpecError if the adapter does not belong to the model, or cannot be merged.
    """
    tied = _tied(model)
    wrapped = _read(model, adapter)
    if any(m.get_base_layer() in tied for m in wrapped.modules() if isinstance(m, BaseTunerLayer)):
        message = (
            f"{adapter.source.name} adapts the embedding or the head, which share one matrix in this model."
        )
        action = "Start from its base model, or from another adapter."
        raise SpecError(TITLE, [Problem(adapter.source.key, message, action)])
    try:
        return wrapped.merge_and_unload().requires_grad_(True)
    except _UNFIT as error:
        raise unloadable(adapter.source, error) from error


def _read(model: PreTrainedModel, adapter: AdapterFolder) -> PeftModel:
    """``model`` wrapped in the adapter by peft, after checking that every name and shape matches."""
    try:
        state = load_file(adapter.path / WEIGHTS_FILE)
        wrapped = get_peft_model(model, PeftConfig.from_pretrained(str(adapter.path)), adapter_name=_NAME)
        result = wrapped.load_adapter(str(adapter.path), _NAME, ignore_mismatched_sizes=True)
    except _UNFIT as error:
        raise unloadable(adapter.source, error) from error
    own = {name.replace(f".{_NAME}", ""): weight for name, weight in wrapped.state_dict().items()}
    lacking = {name.replace(f".{_NAME}", "") for name in result.missing_keys}
    shapes = [(name, state[name].shape, own[name].shape) for name in lacking if name in state]
    problems = [
        *wrong_names(
            adapter.source, lacking - {name for name, *_ in shapes}, result.unexpected_keys, _ACTION
        ),
        *wrong_shapes(adapter.source, shapes, _ACTION),
    ]
    if bad := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        problems.append(
            Problem(adapter.source.key, f"{adapter.source.name} has NaN or infinite values in {bad[0]}.")
        )
    if problems:
        raise SpecError(TITLE, problems)
    return wrapped


def _is_plain(layer: LoraLayer) -> bool:
    return (
        _NAME in layer.lora_A
        and _NAME not in layer.lora_variant
        and hasattr(layer.get_base_layer(), "weight")
    )


def _factors(layer: LoraLayer) -> Factors:
    down, up = (part[_NAME].weight.detach().float().cpu() for part in (layer.lora_A, layer.lora_B))
    return Factors(down, up, layer.scaling[_NAME])


def _tied(model: PreTrainedModel) -> list[nn.Module]:
    """The embedding and the head if they share one matrix; otherwise empty."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    return [head, embedding] if head is not None and head.weight is embedding.weight else []
