# SPDX-License-Identifier: Apache-2.0
"""Rules on adapters: their ranks and layers, and which kinds of LoRA go together."""

from __future__ import annotations

import re

from tadrib.training.config.problems.violations import show
from tadrib.training.config.rules.common import rule
from tadrib.training.config.rules.strategy import name_of, settings_of
from tadrib.training.config.strategy import zero_stage
from tadrib.training.config.view import View
from tadrib.training.errors import Problem, nearest

RANDOM_STARTS = ("kaiming", "gaussian")
PRINCIPAL_STARTS = ("pissa", "olora")
LORA_STARTS = (*RANDOM_STARTS, "pissa", "pissa_niter_4", "olora", "loftq")
_PISSA_NITER = re.compile(r"pissa_niter_[1-9][0-9]?")
_READS_ROWS = ("eva", "corda", "lora_ga")
"""Starts of PEFT that are computed from activations or gradients of training rows."""


def is_principal(start: str) -> bool:
    """Whether an ``init_lora_weights`` starts from the main directions of the weights."""
    return start in PRINCIPAL_STARTS or _PISSA_NITER.fullmatch(start) is not None


@rule("use_lora", "lora_r")
def lora_has_a_rank(view: View) -> Problem | None:
    """With `use_lora`, `lora_r` is at least 1."""
    if view["use_lora"] and view["lora_r"] < 1:
        action = "Set lora_r: 16, or use_lora: false to train all weights."
        return Problem("lora_r", f"must be >= 1 with use_lora: true, got {view['lora_r']}.", action)
    return None


@rule("use_lora", "lora_target_modules")
def lora_has_layers(view: View) -> Problem | None:
    """With `use_lora`, `lora_target_modules` names at least one layer."""
    if view["use_lora"] and not view["lora_target_modules"]:
        action = "Set lora_target_modules: [q_proj, v_proj], or use_lora: false to train all weights."
        return Problem("lora_target_modules", "must name a layer with use_lora: true, got [].", action)
    return None


@rule("use_lora", "lora_target_modules")
def lora_layers_are_a_pattern(view: View) -> Problem | None:
    """A text for `lora_target_modules` is `all-linear` or a regular expression."""
    layers = view["lora_target_modules"]
    try:
        re.compile(layers if isinstance(layers, str) else "")
    except re.error as error:
        return Problem(
            "lora_target_modules",
            f'"{layers}" is no regular expression: {error}.',
            "Set lora_target_modules: [q_proj, v_proj], or lora_target_modules: all-linear.",
        )
    return None


@rule("rank_pattern", "alpha_pattern")
def lora_patterns_are_expressions(view: View) -> Problem | None:
    """The keys of `rank_pattern` and `alpha_pattern` are names of layers or regular expressions."""
    for name in ("rank_pattern", "alpha_pattern"):
        for key in view[name]:
            try:
                re.compile(key)
            except re.error as error:
                message = f"{show(key)} is no regular expression: {error}."
                return Problem(name, message, f"Set {name}: {{down_proj: 32}}.")
    return None


@rule("use_lora", "init_lora_weights")
def lora_start_is_known(view: View) -> Problem | None:
    """`init_lora_weights` is `kaiming` (or `true`), `gaussian`, `pissa`, `pissa_niter_N`, `olora` or
    `loftq`."""
    start = view["init_lora_weights"]
    if start in LORA_STARTS or is_principal(start):
        return None
    if start == "false":
        found = "false, which makes adapters random in both factors; training would start from a model that is broken."
        return Problem("init_lora_weights", found, "Remove it, or set init_lora_weights: gaussian.")
    if start in _READS_ROWS:
        found = f"{start}, which PEFT computes from training rows; here a start is computed from the weights alone."
        return Problem("init_lora_weights", found, "Set init_lora_weights: pissa, or remove it.")
    meant = nearest(start, LORA_STARTS)
    action = f"Did you mean {meant}?" if meant else ""
    known = "kaiming, gaussian, pissa, pissa_niter_N (as pissa_niter_4), olora or loftq"
    return Problem("init_lora_weights", f"must be {known}, got {show(start)}.", action)


@rule("use_lora", "init_lora_weights", "load_in_4bit", "load_in_8bit")
def principal_start_has_whole_weights(view: View) -> Problem | None:
    """`init_lora_weights` `pissa` and `olora` decompose weights that are not quantized."""
    start = view["init_lora_weights"]
    bits = next((key for key in ("load_in_4bit", "load_in_8bit") if view[key]), None)
    if not view["use_lora"] or bits is None or not is_principal(start):
        return None
    instead = "loftq, which is made for 4 bits" if bits == "load_in_4bit" else "kaiming"
    return Problem(
        "init_lora_weights",
        f"{start} together with {bits}: true; it decomposes the weights, and quantized ones are not at hand.",
        f"Set init_lora_weights: {instead}, or {bits}: false.",
    )


@rule("use_lora", "init_lora_weights", "load_in_4bit")
def loftq_has_4_bits(view: View) -> Problem | None:
    """`init_lora_weights: loftq` needs `load_in_4bit`: it starts from what that rounds away."""
    if not view["use_lora"] or view["init_lora_weights"] != "loftq" or view["load_in_4bit"]:
        return None
    return Problem(
        "init_lora_weights",
        "loftq without load_in_4bit: true; it starts adapters from what 4 bits round away.",
        "Set load_in_4bit: true, or init_lora_weights: pissa.",
    )


@rule("use_lora", "init_lora_weights", "reference")
def loftq_is_its_own_reference(view: View) -> Problem | None:
    """`init_lora_weights: loftq` does not go with `reference` `copy` or `cache`: the reference is the 4-bit model with
    its adapters as they start, which only the trained model has."""
    reference = view["reference"]
    if not view["use_lora"] or view["init_lora_weights"] != "loftq" or reference not in ("copy", "cache"):
        return None
    return Problem(
        "reference",
        f"{reference} together with init_lora_weights: loftq; what training starts from includes the adapters' start.",
        "Set reference: adapter_off, or init_lora_weights: kaiming.",
    )


@rule("use_lora", "use_dora", "init_lora_weights")
def dora_starts_from_the_weights(view: View) -> Problem | None:
    """`use_dora` goes with `init_lora_weights` `kaiming` and `gaussian`: its norms are of the model's own
    weights."""
    start = view["init_lora_weights"]
    if not (view["use_lora"] and view["use_dora"]) or not (start == "loftq" or is_principal(start)):
        return None
    return Problem(
        "use_dora",
        f"true together with init_lora_weights: {start}; DoRA's norms are those of the weights as they are.",
        "Remove init_lora_weights, or set use_dora: false.",
    )


@rule("use_lora", "lora_bias", "use_dora", "init_lora_weights")
def lora_bias_is_for_plain_lora(view: View) -> Problem | None:
    """`lora_bias` goes with neither `use_dora` nor an `init_lora_weights` other than `kaiming`, as in PEFT."""
    if not (view["use_lora"] and view["lora_bias"]):
        return None
    if view["use_dora"]:
        found, without = "use_dora: true", "use_dora: false"
    elif (start := view["init_lora_weights"]) != "kaiming":
        found, without = f"init_lora_weights: {start}", "init_lora_weights: kaiming"
    else:
        return None
    message = f"true together with {found}; PEFT has a bias on plain adapters alone."
    return Problem("lora_bias", message, f"Set lora_bias: false, or {without}.")


@rule("use_lora", "use_dora", "init_lora_weights", "modules_to_save", "strategy", "deepspeed")
def sharded_weights_are_not_read(view: View) -> Problem | None:
    """ZeRO-3 goes with neither `use_dora`, `modules_to_save`, nor an `init_lora_weights` that is computed from the
    weights: each worker has a shard of them."""
    settings = settings_of(view)
    if not view["use_lora"] or settings is None or zero_stage(settings) != 3:
        return None
    start = view["init_lora_weights"]
    wants = {
        "use_dora": view["use_dora"],
        "modules_to_save": bool(view["modules_to_save"]),
        "init_lora_weights": is_principal(start),
    }
    key = next((key for key, wanted in wants.items() if wanted), None)
    if key is None:
        return None
    whole = "strategy: zero2" if view["deepspeed"] is None else "a deepspeed stage below 3"
    return Problem(
        key,
        f"{show(view[key])} together with {name_of(view)}; it needs whole weights, and each worker has a shard.",
        f"Set {whole}, or remove {key}.",
    )
