# SPDX-License-Identifier: Apache-2.0
"""Settings without effect: what was set beside another setting that leaves it nothing to do. It is told, not refused,
so that one switch can be turned without taking a spec apart."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tadrib.training.config.problems.violations import show
from tadrib.training.config.view import View


@dataclass(frozen=True, slots=True)
class Idle:
    """``key`` was set to ``value``, which changes nothing; ``reason`` is a clause that fits after "because"."""

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {show(self.value)} has no effect, because {self.reason}"


@dataclass(frozen=True, slots=True)
class Circumstance:
    """Where ``keys`` have no effect: ``reason`` gives the clause, or None where they have one; it is skipped where one
    of the keys it ``reads`` is unknown."""

    keys: tuple[str, ...]
    reads: tuple[str, ...]
    reason: Callable[[View], str | None]
    summary: str


CIRCUMSTANCES: list[Circumstance] = []

Reason = Callable[[View], str | None]


def idle(*keys: str, reads: tuple[str, ...]) -> Callable[[Reason], Reason]:
    """Register a circumstance in which ``keys`` do nothing; the docstring says it in words."""

    def register(reason: Reason) -> Reason:
        CIRCUMSTANCES.append(Circumstance(keys, reads, reason, (reason.__doc__ or "").strip()))
        return reason

    return register


def without_effect(view: View) -> list[Idle]:
    """What the user set in ``view`` (settled) to another value than its default, for nothing."""
    found = []
    for each in CIRCUMSTANCES:
        if not view.has(each.reads) or not (reason := each.reason(view)):
            continue
        for key in each.keys:
            if key in view.given and key in view.values and not view.is_default(key):
                found.append(Idle(key, view[key], reason))
    return found


@idle(
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "init_lora_weights",
    "modules_to_save",
    reads=("use_lora",),
)
def no_adapters(view: View) -> str | None:
    """`lora_*` and the other keys of adapters with `use_lora: false`."""
    return None if view["use_lora"] else "use_lora is false, so there are no adapters"


@idle("eval_steps", reads=("evaluation_strategy",))
def not_evaluated_by_steps(view: View) -> str | None:
    """`eval_steps` with an `evaluation_strategy` other than `steps`."""
    strategy = view["evaluation_strategy"]
    return None if strategy == "steps" else f"evaluation_strategy is {strategy}"


@idle("save_steps", reads=("save_strategy",))
def not_saved_by_steps(view: View) -> str | None:
    """`save_steps` with a `save_strategy` other than `steps`."""
    strategy = view["save_strategy"]
    return None if strategy == "steps" else f"save_strategy is {strategy}"


@idle("save_total_limit", reads=("save_strategy",))
def nothing_saved(view: View) -> str | None:
    """`save_total_limit` with `save_strategy: no`."""
    return "save_strategy is no, so there is no checkpoint" if view["save_strategy"] == "no" else None


@idle("metric_for_best_model", reads=("load_best_model_at_end", "evaluation_strategy", "callbacks"))
def no_best_model(view: View) -> str | None:
    """`metric_for_best_model` where no best checkpoint is picked and no callback could watch it."""
    if view["evaluation_strategy"] == "no":
        return "evaluation_strategy is no, so nothing is measured"
    if not view["load_best_model_at_end"] and not view["callbacks"]:
        return "load_best_model_at_end is false, so no checkpoint is picked"
    return None


@idle("num_train_epochs", reads=("max_steps",))
def steps_are_counted(view: View) -> str | None:
    """`num_train_epochs` with `max_steps`."""
    return f"max_steps is {view['max_steps']}" if view["max_steps"] > 0 else None


@idle("warmup_ratio", reads=("lr_scheduler_type", "warmup_ratio"))
def no_warmup(view: View) -> str | None:
    """`warmup_ratio` other than 0 with `lr_scheduler_type: constant`."""
    if view["lr_scheduler_type"] != "constant" or view["warmup_ratio"] == 0:
        return None
    return "lr_scheduler_type is constant; constant_with_warmup has a warm-up"


@idle("max_skipped_steps", reads=("on_nonfinite",))
def nothing_skipped(view: View) -> str | None:
    """`max_skipped_steps` with `on_nonfinite: stop`."""
    return "on_nonfinite is stop" if view["on_nonfinite"] == "stop" else None


@idle("dataloader_pin_memory", reads=("run.device", "dataloader_pin_memory"))
def nothing_copied_to_a_gpu(view: View) -> str | None:
    """`dataloader_pin_memory: true` on a CPU."""
    if view["run.device"] != "cpu" or not view["dataloader_pin_memory"]:
        return None
    return "this run is on the CPU, and no batch is copied to a GPU"


@idle("ddp_backend", "ddp_find_unused_parameters", reads=("resources.num_workers",))
def one_worker(view: View) -> str | None:
    """`ddp_*` with one worker."""
    return "resources.num_workers is 1" if view["resources.num_workers"] == 1 else None


@idle("model_revision", reads=("model_name",))
def model_is_a_folder(view: View) -> str | None:
    """`model_revision` where `model_name` is a folder."""
    name = view["model_name"]
    return f"model_name {name} is a folder, which has no revisions" if os.path.isdir(name) else None


@idle("on_nonfinite", "max_skipped_steps", reads=("engine",))
def trl_guards_nothing(view: View) -> str | None:
    """`on_nonfinite` and `max_skipped_steps` with `engine: trl`."""
    return "engine is trl, whose steps are not looked at" if view["engine"] == "trl" else None


@idle("reference", reads=("engine", "reference"))
def trl_keeps_no_cache(view: View) -> str | None:
    """`reference: cache` with `engine: trl`."""
    cached = view["engine"] == "trl" and view["reference"] == "cache"
    return "engine is trl, which computes the reference in every step" if cached else None
