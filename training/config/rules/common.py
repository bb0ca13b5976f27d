# SPDX-License-Identifier: Apache-2.0
"""Rule: a named check across several settings, and the rules that every method's settings must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tadrib.training.config.metrics import plain_name
from tadrib.training.config.rules.adjusters import early_stopping
from tadrib.training.config.view import View
from tadrib.training.errors import Problem, nearest

Check = Callable[[View], Problem | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A check and the keys it reads; it is skipped where one of them is unknown or did not parse."""

    name: str
    keys: tuple[str, ...]
    check: Check
    summary: str


RULES: list[Rule] = []


def rule(*keys: str) -> Callable[[Check], Check]:
    """Register a check under its function's name; its docstring is the rule in words."""

    def register(check: Check) -> Check:
        RULES.append(Rule(check.__name__, keys, check, (check.__doc__ or "").strip()))
        return check

    return register


def broken_rules(view: View) -> list[Problem]:
    """One problem for each rule that ``view`` breaks, in the order the rules are written."""
    found = ((each, each.check(view)) for each in RULES if view.has(each.keys))
    return [replace(problem, rule=each.name) for each, problem in found if problem]


@rule("load_in_4bit", "load_in_8bit")
def one_quantization(view: View) -> Problem | None:
    """`load_in_4bit` and `load_in_8bit` exclude each other: weights are loaded in one precision."""
    if view["load_in_4bit"] and view["load_in_8bit"]:
        return Problem(
            "load_in_4bit",
            "true together with load_in_8bit: true; weights are loaded in one precision.",
            "Set load_in_8bit: false to keep 4 bits, or load_in_4bit: false to keep 8.",
        )
    return None


@rule("load_in_4bit", "load_in_8bit", "use_lora")
def quantized_weights_need_lora(view: View) -> Problem | None:
    """Weights in 4 or 8 bits cannot be trained themselves: `load_in_4bit` and `load_in_8bit` need
    `use_lora`."""
    key = next((key for key in ("load_in_4bit", "load_in_8bit") if view[key]), None)
    if key and not view["use_lora"]:
        return Problem(
            "use_lora",
            f"false together with {key}: true; quantized weights cannot be trained themselves.",
            f"Set use_lora: true to train adapters on them, or {key}: false to train all weights.",
        )
    return None


@rule("fp16", "bf16")
def one_mixed_precision(view: View) -> Problem | None:
    """`fp16` and `bf16` exclude each other."""
    if view["fp16"] and view["bf16"]:
        return Problem(
            "fp16",
            "true together with bf16: true; a run computes in one precision.",
            "Set fp16: false where the GPU has bfloat16 (Ampere and later), else bf16: false.",
        )
    return None


@rule("fp16", "bf16", "torch_dtype", "use_lora")
def mixed_precision_fits_weights(view: View) -> Problem | None:
    """`fp16` does not go with bfloat16 weights, nor `bf16` with float16 weights."""
    for key, other, dtype in (("fp16", "bf16", "bfloat16"), ("bf16", "fp16", "float16")):
        if view[key] and not view[other] and view["torch_dtype"] == dtype:
            return Problem(
                "torch_dtype",
                f"{dtype} together with {key}: true; {dtype} weights have no {key} gradients.",
                f"Set torch_dtype: float32, or {key}: false.",
            )
    return None


@rule("torch_dtype", "use_lora", "fp16", "run.device")
def trained_weights_are_not_float16(view: View) -> Problem | None:
    """Weights in float16 can be kept frozen but not trained: small gradients vanish."""
    if view["torch_dtype"] == "float16" and not view["use_lora"]:
        return Problem(
            "torch_dtype",
            "float16 together with use_lora: false; trained in float16, small gradients vanish.",
            "Set torch_dtype: bfloat16, or torch_dtype: float32"
            f"{' with fp16: true' if view['run.device'] == 'cuda' else ''}.",
        )
    return None


@rule("max_steps")
def max_steps_trains(view: View) -> Problem | None:
    """`max_steps` is -1 (train by epochs) or at least 1."""
    if view["max_steps"] == 0:
        action = "Remove it to train by num_train_epochs."
        return Problem("max_steps", "must be -1 or >= 1, got 0.", action)
    return None


@rule("eval_dataset_path", "validation_split", "datasets")
def one_evaluation_set(view: View) -> Problem | None:
    """Evaluation rows come from `eval_dataset_path` or from `validation_split` and the `split` of `datasets`, not from
    both."""
    if view["eval_dataset_path"] is not None and (share := max(view.splits())) > 0:
        key = "validation_split" if view["validation_split"] > 0 else "datasets"
        return Problem(
            key,
            f"{share} together with eval_dataset_path: {view['eval_dataset_path']};"
            " evaluation rows come from one place.",
            f"Remove {'validation_split' if key != 'datasets' else 'split'}, or remove eval_dataset_path.",
        )
    return None


@rule("evaluation_strategy", "run.eval_data")
def evaluation_has_rows(view: View) -> Problem | None:
    """An `evaluation_strategy` other than `no` needs evaluation data."""
    if view["evaluation_strategy"] != "no" and not view["run.eval_data"]:
        return Problem(
            "evaluation_strategy",
            f"{view['evaluation_strategy']}, but neither eval_dataset_path nor validation_split is set.",
            "Set eval_dataset_path, or validation_split: 0.05, or evaluation_strategy: no.",
        )
    return None


@rule("callbacks", "evaluation_strategy", "run.eval_data")
def early_stopping_has_scores(view: View) -> Problem | None:
    """An `EarlyStoppingCallback` needs evaluation: `evaluation_strategy` other than `no`, and rows to evaluate on."""
    if view["evaluation_strategy"] == "no" and early_stopping(view["callbacks"]):
        return Problem(
            "callbacks",
            "an EarlyStoppingCallback, but evaluation_strategy is no, so there is no score to watch.",
            "Remove evaluation_strategy, or set it to steps or epoch; validation_split: 0.05 holds out rows.",
        )
    return None


@rule("load_best_model_at_end", "evaluation_strategy", "save_strategy", "run.eval_data")
def best_model_is_scored_and_saved(view: View) -> Problem | None:
    """`load_best_model_at_end` needs evaluation, and `save_strategy` equal to `evaluation_strategy`."""
    evaluation, save = view["evaluation_strategy"], view["save_strategy"]
    if not view["load_best_model_at_end"] or evaluation == save != "no":
        return None
    if evaluation == "no":
        return Problem(
            "load_best_model_at_end",
            "true, but evaluation_strategy is no, so no checkpoint has a score.",
            f"Set load_best_model_at_end: false, or {_for_scores(view)}.",
        )
    return Problem(
        "save_strategy",
        f"{save}, but load_best_model_at_end: true needs a checkpoint whenever it evaluates"
        f" (evaluation_strategy: {evaluation}).",
        f"Set save_strategy: {evaluation}, or load_best_model_at_end: false.",
    )


def _for_scores(view: View) -> str:
    """What makes a run evaluate that does not."""
    needs = [] if view["run.eval_data"] else ["validation_split: 0.05"]
    if "evaluation_strategy" in view.given:
        needs.append("evaluation_strategy: steps")
    return " and ".join(needs)


@rule(
    "load_best_model_at_end",
    "evaluation_strategy",
    "save_strategy",
    "eval_steps",
    "save_steps",
    "run.eval_data",
)
def best_model_steps_align(view: View) -> Problem | None:
    """With `load_best_model_at_end` and both strategies `steps`, `save_steps` is a multiple of
    `eval_steps`."""
    every, save = view["eval_steps"], view["save_steps"]
    by_steps = view["evaluation_strategy"] == view["save_strategy"] == "steps"
    if view["load_best_model_at_end"] and by_steps and save % every:
        multiples = sorted({max(every, save // every * every), (save // every + 1) * every})
        return Problem(
            "save_steps",
            f"{save} is not a multiple of eval_steps ({every}), which load_best_model_at_end: true needs.",
            f"Use {' or '.join(map(str, multiples))}, or set load_best_model_at_end: false.",
        )
    return None


@rule("metric_for_best_model", "run.metrics", "datasets")
def best_metric_is_logged(view: View) -> Problem | None:
    """`metric_for_best_model` is a metric that the method logs on held-out rows."""
    metrics, name = view["run.metrics"], view["metric_for_best_model"]
    if _plain_best_metric(view) in metrics:
        return None
    known = [f"eval_{each}" for each in metrics]
    meant = nearest(f"eval_{plain_name(name)}", known)
    action = f"Did you mean {meant}?" if meant else f"It has {', '.join(known)}."
    return Problem("metric_for_best_model", f"{name}, which this method does not log.", action)


@rule("metric_for_best_model", "greater_is_better", "run.metrics", "datasets")
def best_metric_has_a_direction(view: View) -> Problem | None:
    """`greater_is_better` is set where it is not known of `metric_for_best_model`, and does not contradict what is."""
    name, given = view["metric_for_best_model"], view["greater_is_better"]
    plain = _plain_best_metric(view)
    known = view["run.metrics"].get(plain, given)
    if known is None and given is None and plain in view["run.metrics"]:
        found = f"not set, but neither a higher nor a lower {name} is known to be better."
        return Problem("greater_is_better", found, "Set it to true or false, or choose another metric.")
    if known is None or given is None or known == given:
        return None
    found = f"{str(given).lower()}, but {name} is better when {'higher' if known else 'lower'}."
    return Problem("greater_is_better", found, "Remove it.")


def _plain_best_metric(view: View) -> str:
    return plain_name(view["metric_for_best_model"], (source.label for source in view["datasets"]))
