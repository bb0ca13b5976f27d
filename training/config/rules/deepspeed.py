# SPDX-License-Identifier: Apache-2.0
"""What a DeepSpeed file says that the spec says as well: read in the spec's words where it is free to, and held to it
where not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tadrib.training.config.problems.violations import show
from tadrib.training.config.rules.adjusters import Change, adjuster
from tadrib.training.config.rules.common import rule
from tadrib.training.config.rules.strategy import settings_of
from tadrib.training.config.strategy import SECTIONS, Settings, is_json
from tadrib.training.config.view import View
from tadrib.training.errors import Problem

_ADAMW = ("adamw_torch", "adamw_torch_fused")
_OPTIMIZERS = {"adam": _ADAMW, "adamw": _ADAMW, "adagrad": ("adagrad",), "sgd": ("sgd",)}
_SCHEDULES = {
    "warmuplr": ("constant_with_warmup",),
    "warmupdecaylr": ("linear",),
    "warmupcosinelr": ("cosine",),
}
_PARAMETERS = {
    "optimizer.params.lr": "learning_rate",
    "optimizer.params.weight_decay": "weight_decay",
    "scheduler.params.warmup_max_lr": "learning_rate",
}
# what our optimizers and schedules do in any case
_AS_HERE: dict[str, tuple[Any, ...]] = {
    "optimizer.params.betas": ([0.9, 0.999],),
    "optimizer.params.eps": (1e-8,),
    "optimizer.params.adam_w_mode": (True,),
    "optimizer.params.torch_adam": (True, False),
    "scheduler.params.warmup_min_lr": (0,),
    "scheduler.params.warmup_type": ("linear",),
}


@adjuster(
    "strategy", "deepspeed", "optim", "learning_rate", "weight_decay", "lr_scheduler_type", "warmup_ratio"
)
def sections_of_the_file_are_settings(view: View) -> Iterator[Change]:
    """The `optimizer` and `scheduler` of a `deepspeed` file, where they are not `"auto"`, take the place of the
    defaults of `optim`, `learning_rate`, `weight_decay` and `lr_scheduler_type`."""
    for path, there, key, equals in _translated(settings_of(view) or {}):
        if view[key] not in equals:
            yield key, equals[0], f"the DeepSpeed configuration says {path}: {show(there)}"


@rule(
    "strategy",
    "deepspeed",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_grad_norm",
    "torch_dtype",
    "fp16",
    "bf16",
    "optim",
    "learning_rate",
    "weight_decay",
    "lr_scheduler_type",
)
def deepspeed_file_agrees(view: View) -> Problem | None:
    """A `deepspeed` file says nothing against the spec: batch sizes, accumulation, clipping and precision are `"auto"`,
    absent or the same. Its `optimizer` (Adam, AdamW, Adagrad, SGD) and `scheduler` (WarmupLR, WarmupDecayLR,
    WarmupCosineLR) stand for keys of the spec; parameters that have none are `"auto"` or absent."""
    settings, given = settings_of(view), view["deepspeed"]
    if settings is None or given is None:
        return None
    found = [
        f"{key}: {there!r} (the spec says {here})" for key, there, here in _contradictions(settings, view)
    ]
    found += [
        f"{path}: {show(there)} (the spec says {key}: {view[key]})"
        for path, there, key, equals in _translated(settings)
        if view[key] not in equals
    ]
    found += [f"{path}: {show(there)} (the spec has no word for it)" for path, there in _untold(settings)]
    if not found:
        return None
    return Problem(
        "deepspeed",
        f"{'it' if is_json(given) else given} says otherwise than the spec: {', '.join(found)}.",
        'Set values to "auto" or remove them; they follow from the spec.',
    )


def computes_in(view: View, dtype: str) -> bool:
    """Whether DeepSpeed computes in this 16-bit ``dtype``, with the optimizer's copy of the weights in float32."""
    flag, other = ("fp16", "bf16") if dtype == "float16" else ("bf16", "fp16")
    return view[flag] or (view["torch_dtype"] == dtype and not view[other])


def _contradictions(settings: Settings, view: View) -> Iterator[tuple[str, Any, Any]]:
    rows, steps = view["per_device_train_batch_size"], view["gradient_accumulation_steps"]
    said = {
        "train_micro_batch_size_per_gpu": rows,
        "gradient_accumulation_steps": steps,
        "gradient_clipping": view["max_grad_norm"],
        "fp16.enabled": computes_in(view, "float16"),
        "bf16.enabled": computes_in(view, "bfloat16"),
    }
    if isinstance(workers := view.values.get("resources.num_workers"), int):
        said["train_batch_size"] = rows * steps * workers
    for key, here in said.items():
        section, _, leaf = key.rpartition(".")
        holder = settings.get(section, {}) if section else settings
        there = holder.get(leaf, "auto") if isinstance(holder, dict) else "auto"
        if there != "auto" and there != here:
            yield key, there, here


def _translated(settings: Settings) -> Iterator[tuple[str, Any, str, tuple[Any, ...]]]:
    """What the sections say in the spec's words: path, value, key, and the key's values that mean the same."""
    for path, there in _leaves(settings):
        if path == "optimizer.type" and (names := _OPTIMIZERS.get(str(there).lower())):
            yield path, there, "optim", names
        elif path == "scheduler.type" and (names := _SCHEDULES.get(str(there).lower())):
            yield path, there, "lr_scheduler_type", names
        elif path in _PARAMETERS and _is_rate(there):
            yield path, there, _PARAMETERS[path], (float(there),)
        elif path == "scheduler.params.warmup_num_steps" and there == 0:
            yield path, there, "warmup_ratio", (0.0,)


def _untold(settings: Settings) -> Iterator[tuple[str, Any]]:
    """What the sections say that no key of the spec does."""
    told = {path for path, *_ in _translated(settings)}
    for path, there in _leaves(settings):
        if path not in told and there not in _AS_HERE.get(path, ()):
            yield path, there


def _leaves(settings: Settings) -> Iterator[tuple[str, Any]]:
    """The values of both sections that are not `"auto"`, by their path; a section that is no mapping, as a whole."""
    for name in SECTIONS:
        section = settings.get(name)
        if not isinstance(section, dict):
            yield from [] if section is None else [(name, section)]
            continue
        params = section.get("params", {})
        flat = {f"{name}.{key}": value for key, value in section.items() if key != "params"}
        flat |= (
            {f"{name}.params.{key}": value for key, value in params.items()}
            if isinstance(params, dict)
            else {f"{name}.params": params}
        )
        yield from ((path, value) for path, value in flat.items() if value != "auto")


def _is_rate(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
