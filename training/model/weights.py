# SPDX-License-Identifier: Apache-2.0
"""Whether the weights that were read are those of the model: every one there, of its shape, finite, and none more.

transformers and peft fill what is missing with random values and leave out what they do not know, with a line in a log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.source import TITLE, ModelSource

_NAMED = 3
"""Weights that an error names before it only counts them."""
_ACTION = (
    "config.json and the weights are of different models, or a file is incomplete: copy the folder again."
)


def require_whole(source: ModelSource, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Raise SpecError unless ``report``, the ``output_loading_info`` of ``from_pretrained``, and ``model`` are sound.

    Tied weights, and names that the architecture declares to be of no account, are not in the report.
    """
    problems = [
        *wrong_names(source, report["missing_keys"], report["unexpected_keys"], _ACTION),
        *wrong_shapes(source, [*report["mismatched_keys"], *_misshapen_when_quantized(model)], _ACTION),
    ]
    if not problems:
        problems = list(not_finite(source, model))
    if problems:
        raise SpecError(TITLE, problems)


def require_fitting(model: PreTrainedModel, checkpoint: Path) -> None:
    """Raise SpecError unless the safetensors files of ``checkpoint`` hold the weights of ``model``, tied ones aside."""
    found: dict[str, tuple[int, ...]] = {}
    try:
        for file in sorted(checkpoint.glob("model*.safetensors")):
            with safe_open(file, framework="pt") as tensors:
                found |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        problem = Problem(
            str(checkpoint), f"its weights cannot be read: {error}.", "Resume from an earlier one."
        )
        raise SpecError("the checkpoint cannot be resumed", [problem]) from error
    due = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = due.keys() - found.keys() - model.all_tied_weights_keys.keys()
    shapes = [
        (name, found[name], due[name]) for name in due.keys() & found.keys() if found[name] != due[name]
    ]
    source = ModelSource("resume_from_checkpoint", str(checkpoint))
    action = "Resume with the model_name that the checkpoint was trained from, or start anew."
    problems = [
        *wrong_names(source, missing, found.keys() - due.keys(), action),
        *wrong_shapes(source, shapes, action),
    ]
    if problems:
        raise SpecError("the checkpoint cannot be resumed", problems)


def wrong_names(
    source: ModelSource, missing: Collection[str], unexpected: Collection[str], action: str
) -> Iterator[Problem]:
    """A problem for weights that are not there and one for those the model has no place for."""
    if prefix := _common_prefix(missing, unexpected):
        message = f'{source.name}: the names of its weights begin with "{prefix}", which the model\'s do not.'
        yield Problem(source.key, message, f'Save it again without "{prefix}".')
        return
    if missing:
        text = f"{source.name} lacks {_listed(missing)}; training would start from random values there."
        yield Problem(source.key, text, action)
    if unexpected:
        yield Problem(
            source.key, f"{source.name} has {_listed(unexpected)}, for which the model has no place.", action
        )


def wrong_shapes(
    source: ModelSource, mismatched: Collection[tuple[str, Any, Any]], action: str
) -> Iterator[Problem]:
    """A problem for weights of other shapes: (name, shape found, shape of the model)."""
    if mismatched:
        shapes = [f"{name} of {list(found)}, not {list(due)}" for name, found, due in sorted(mismatched)]
        yield Problem(source.key, f"{source.name} has {_listed(shapes)}.", action)


def not_finite(source: ModelSource, model: torch.nn.Module) -> Iterator[Problem]:
    """A problem for weights with a NaN or infinity in them, which a sum shows without a copy of the weights."""
    bad = [
        name
        for name, weight in model.named_parameters()
        if weight.is_floating_point() and not weight.detach().sum(dtype=torch.float32).isfinite()
    ]
    if bad:
        message = f"{source.name} has NaN or infinite values in {_listed(bad)}."
        yield Problem(source.key, message, "Take an earlier checkpoint of it; this one is past saving.")


def _misshapen_when_quantized(model: PreTrainedModel) -> Iterator[tuple[str, Any, Any]]:
    """transformers quantizes a weight of any shape without a look at the layer's."""
    for name, module in model.named_modules():
        weight: Any = getattr(module, "weight", None)
        state = getattr(weight, "quant_state", None)
        if state is None and type(weight).__name__ != "Int8Params":
            continue
        found = tuple(weight.shape if state is None else state.shape)
        due = (module.out_features, module.in_features)
        if found != due:
            yield f"{name}.weight", found, due


def _common_prefix(missing: Collection[str], unexpected: Collection[str]) -> str | None:
    """What all unexpected names have before a missing one, as wrappers such as DDP put it there."""
    if not missing or not unexpected:
        return None
    sample = min(unexpected)
    tail = max((name for name in missing if sample.endswith(name)), key=len, default=sample)
    prefix = sample.removesuffix(tail)
    found = {name.removeprefix(prefix) for name in unexpected if name.startswith(prefix)}
    return prefix if prefix and len(found) == len(unexpected) and found <= set(missing) else None


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMED])
    more = len(names) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown
