# SPDX-License-Identifier: Apache-2.0
"""Check that loaded weights match the model: none missing, none unknown, all of the right shape and finite.

transformers and peft initialize missing weights at random and skip unknown ones, with just a line in the log.
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
"""How many weights an error lists by name; the rest are counted."""
_ACTION = (
    "config.json and the weights are of different models, or a file is incomplete: copy the folder again."
)


def require_whole(source: ModelSource, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Raise SpecError for problems in ``report``, the ``output_loading_info`` of ``from_pretrained``, or in ``model``.

    The report leaves out tied weights and names that the architecture declares irrelevant.
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
    """Raise SpecError unless the safetensors files of ``checkpoint`` match ``model``'s weights, tied ones aside."""
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
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = expected.keys() - found.keys() - model.all_tied_weights_keys.keys()
    common = expected.keys() & found.keys()
    shapes = [(name, found[name], expected[name]) for name in common if found[name] != expected[name]]
    source = ModelSource("resume_from_checkpoint", str(checkpoint))
    action = "Resume with the model_name that the checkpoint was trained from, or start anew."
    problems = [
        *wrong_names(source, missing, found.keys() - expected.keys(), action),
        *wrong_shapes(source, shapes, action),
    ]
    if problems:
        raise SpecError("the checkpoint cannot be resumed", problems)


def wrong_names(
    source: ModelSource, missing: Collection[str], unexpected: Collection[str], action: str
) -> Iterator[Problem]:
    """One problem for missing weights and one for unknown ones."""
    if prefix := _common_prefix(missing, unexpected):
        message = f'{source.name}: its weight names begin with "{prefix}", unlike the model\'s.'
        yield Problem(source.key, message, f'Save it again without "{prefix}".')
        return
    if missing:
        text = f"{source.name} lacks {_listed(missing)}; they would be initialized at random."
        yield Problem(source.key, text, action)
    if unexpected:
        yield Problem(
            source.key, f"{source.name} has {_listed(unexpected)}, which the model does not have.", action
        )


def wrong_shapes(
    source: ModelSource, mismatched: Collection[tuple[str, Any, Any]], action: str
) -> Iterator[Problem]:
    """One problem for all weights with wrong shapes, given as (name, shape found, shape in the model)."""
    if mismatched:
        shapes = [f"{name} of {list(found)}, not {list(due)}" for name, found, due in sorted(mismatched)]
        yield Problem(source.key, f"{source.name} has {_listed(shapes)}.", action)


def not_finite(source: ModelSource, model: torch.nn.Module) -> Iterator[Problem]:
    """One problem for all weights that contain NaN or infinity; a sum detects them without copying the weights."""
    bad = [
        name
        for name, weight in model.named_parameters()
        if weight.is_floating_point() and not weight.detach().sum(dtype=torch.float32).isfinite()
    ]
    if bad:
        message = f"{source.name} has NaN or infinite values in {_listed(bad)}."
        yield Problem(source.key, message, "Use an earlier checkpoint of it: this one cannot be repaired.")


def _misshapen_when_quantized(model: PreTrainedModel) -> Iterator[tuple[str, Any, Any]]:
    """Quantized weights whose shape differs from their layer's, which transformers does not check."""
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
    """The prefix that turns every unexpected name into a missing one, as wrappers such as DDP add it; None without."""
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
