# SPDX-License-Identifier: Apache-2.0
"""Adjustment: a default that cannot hold in this run, replaced, with the reason. What the user set is never
touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tadrib.training.config.view import View


@dataclass(frozen=True, slots=True)
class Adjustment:
    """``key`` had the default ``given``; the run uses ``used``; ``reason`` is a clause that fits after
    "because"."""

    key: str
    given: Any
    used: Any
    reason: str

    def __str__(self) -> str:
        change = f"{_text(self.used)} instead of the default {_text(self.given)}"
        return f"{self.key}: {change}, because {self.reason}"


Change = tuple[str, Any, str]


@dataclass(frozen=True, slots=True)
class Adjuster:
    """A named function from a view to changes ``(key, value, reason)``; skipped where one of its keys is
    unknown. A change without a reason is not reported: it keeps a fact ``run.…``, or another name of a setting, in
    step with what was set."""

    name: str
    keys: tuple[str, ...]
    change: Callable[[View], Iterator[Change]]
    summary: str


ADJUSTERS: list[Adjuster] = []


def adjuster(
    *keys: str,
) -> Callable[[Callable[[View], Iterator[Change]]], Callable[[View], Iterator[Change]]]:
    """Register an adjuster; they run in the order written, each on what the ones before it left."""

    def register(change: Callable[[View], Iterator[Change]]) -> Callable[[View], Iterator[Change]]:
        ADJUSTERS.append(Adjuster(change.__name__, keys, change, (change.__doc__ or "").strip()))
        return change

    return register


def settle(view: View) -> tuple[View, list[Adjustment]]:
    """The view with every default that cannot hold replaced, and what was replaced."""
    done: dict[str, Adjustment] = {}
    for each in ADJUSTERS:
        if not view.has(each.keys):
            continue
        for key, value, reason in each.change(view):
            if key in view.given or view[key] == value:
                continue
            if reason:
                before = done[key].given if key in done else view[key]
                done[key] = Adjustment(key, before, value, reason)
            view = view.with_values(**{key: value})
    return view, list(done.values())


@adjuster(
    "validation_split",
    "evaluation_strategy",
    "load_best_model_at_end",
    "eval_steps",
    "metric_for_best_model",
    "callbacks",
    "run.eval_data",
    "run.may_split",
)
def evaluation_asked_for_gets_rows(view: View) -> Iterator[Change]:
    """Where evaluation was asked for without evaluation data, `validation_split` becomes 0.05. What asks for it: an
    `evaluation_strategy` that was set, `load_best_model_at_end: true`, `eval_steps`, `metric_for_best_model`, or an
    `EarlyStoppingCallback`."""
    asked = _what_asks_for_evaluation(view)
    if view["run.eval_data"] or not view["run.may_split"] or "validation_split" in view.given or not asked:
        return
    yield "validation_split", 0.05, f"{asked} needs evaluation rows, and no eval_dataset_path is set"
    yield "run.eval_data", True, ""


def _what_asks_for_evaluation(view: View) -> str | None:
    """The setting, as the user wrote it; None where none does, or `evaluation_strategy: no` was set."""
    if view["evaluation_strategy"] == "no" and "evaluation_strategy" in view.given:
        return None
    if early_stopping(view["callbacks"]):
        return "the EarlyStoppingCallback"
    keys = ("evaluation_strategy", "load_best_model_at_end", "eval_steps", "metric_for_best_model")
    key = next((key for key in keys if key in view.given and view[key]), None)
    return key and f"{key}: {_text(view[key])}"


def early_stopping(callbacks: list[Any]) -> bool:
    """Whether one is transformers' `EarlyStoppingCallback`, which this package cannot import for its weight."""
    names = {kind.__name__ for callback in callbacks for kind in type(callback).__mro__}
    return "EarlyStoppingCallback" in names


@adjuster("evaluation_strategy", "run.eval_data")
def evaluation_needs_rows(view: View) -> Iterator[Change]:
    """Without evaluation data, `evaluation_strategy` becomes `no`."""
    if not view["run.eval_data"]:
        yield "evaluation_strategy", "no", "neither eval_dataset_path nor validation_split is set"


@adjuster("load_best_model_at_end", "evaluation_strategy")
def best_model_needs_scores(view: View) -> Iterator[Change]:
    """Without evaluation, `load_best_model_at_end` becomes false."""
    if view["load_best_model_at_end"] and view["evaluation_strategy"] == "no":
        yield "load_best_model_at_end", False, "evaluation_strategy is no, so no checkpoint has a score"


@adjuster("load_best_model_at_end", "evaluation_strategy", "save_strategy")
def saving_follows_evaluation(view: View) -> Iterator[Change]:
    """With `load_best_model_at_end`, the one of `evaluation_strategy` and `save_strategy` that was not set
    follows the one that was; where both were set and differ, `load_best_model_at_end` becomes false."""
    evaluation, save = view["evaluation_strategy"], view["save_strategy"]
    if not view["load_best_model_at_end"] or evaluation == "no" or evaluation == save:
        return
    if "save_strategy" not in view.given:
        yield "save_strategy", evaluation, "load_best_model_at_end saves when it evaluates"
    elif "evaluation_strategy" not in view.given and save != "no":
        yield "evaluation_strategy", save, "load_best_model_at_end evaluates when it saves"
    else:
        reason = f"save_strategy is {save} and evaluation_strategy is {evaluation}"
        yield "load_best_model_at_end", False, reason


@adjuster("load_best_model_at_end", "evaluation_strategy", "save_strategy", "eval_steps", "save_steps")
def saving_steps_follow_evaluation(view: View) -> Iterator[Change]:
    """With `load_best_model_at_end`, the one of `eval_steps` and `save_steps` that was not set is aligned
    with the one that was; where both were set and `save_steps` is no multiple, `load_best_model_at_end`
    becomes false."""
    every, save = view["eval_steps"], view["save_steps"]
    by_steps = view["evaluation_strategy"] == view["save_strategy"] == "steps"
    if not view["load_best_model_at_end"] or not by_steps or save % every == 0:
        return
    if "save_steps" not in view.given:
        reason = f"load_best_model_at_end needs a multiple of eval_steps ({every})"
        yield "save_steps", max(every, save // every * every), reason
    elif "eval_steps" not in view.given:
        yield (
            "eval_steps",
            save,
            f"load_best_model_at_end needs a score for each checkpoint (save_steps {save})",
        )
    else:
        yield "load_best_model_at_end", False, f"save_steps ({save}) is no multiple of eval_steps ({every})"


@adjuster("torch_dtype", "run.device", "run.device_reason")
def weights_on_cpu(view: View) -> Iterator[Change]:
    """On CPU, `torch_dtype` becomes float32, which CPUs compute faster than bfloat16."""
    if view["run.device"] == "cpu" and view["torch_dtype"] == "bfloat16":
        yield "torch_dtype", "float32", f"{view['run.device_reason']} and CPUs compute float32 faster"


@adjuster("torch_dtype", "fp16", "bf16", "use_lora", "run.device", "run.bf16")
def weights_without_bfloat16(view: View) -> Iterator[Change]:
    """On a GPU without bfloat16, `torch_dtype` becomes float16 with `fp16` on; float32 without LoRA."""
    asked_for = "torch_dtype" in view.given
    if view["run.device"] == "cpu" or view["run.bf16"] or view["torch_dtype"] != "bfloat16" or asked_for:
        return
    reason = "this GPU does not compute in bfloat16"
    frozen = view["use_lora"] and not view["bf16"]
    yield "torch_dtype", "float16" if frozen else "float32", reason
    if not view["bf16"]:
        yield "fp16", True, reason


@adjuster("torch_dtype", "fp16", "use_lora")
def weights_for_fp16(view: View) -> Iterator[Change]:
    """With `fp16`, `torch_dtype` becomes float16; float32 without LoRA, as loss scaling needs."""
    if view["fp16"] and view["torch_dtype"] == "bfloat16":
        yield "torch_dtype", "float16" if view["use_lora"] else "float32", "fp16 is on"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
