# SPDX-License-Identifier: Apache-2.0
"""Rules on the settings that only some methods have."""

from __future__ import annotations

from collections.abc import Iterator

from tadrib.training.config.problems.violations import show
from tadrib.training.config.response_marks import ALPACA_RESPONSE, RESPONSE_MARKS
from tadrib.training.config.rules.adjusters import Change, adjuster
from tadrib.training.config.rules.common import rule
from tadrib.training.config.view import View
from tadrib.training.errors import Problem


@adjuster("beta", "tau")
def one_regularisation(view: View) -> Iterator[Change]:
    """In IPO, `beta` is another name of `tau`: where one of them is set, the other becomes the same."""
    if "beta" in view.given:
        yield "tau", view["beta"], "beta is set, which is its name in TRL"
    elif "tau" in view.given:
        yield "beta", view["tau"], ""


@adjuster("max_seq_length", "max_length", "max_prompt_length")
def one_length(view: View) -> Iterator[Change]:
    """In the preference methods, `max_seq_length` is another name of `max_length`: where one of them is set, the other
    becomes the same."""
    if "max_length" in view.given:
        yield "max_seq_length", view["max_length"], ""
    elif "max_seq_length" in view.given:
        yield "max_length", view["max_seq_length"], "max_seq_length is set, which is another name of it"


@adjuster("max_length", "max_prompt_length")
def prompts_leave_room(view: View) -> Iterator[Change]:
    """Under a `max_length` that leaves no room for a completion, `max_prompt_length` becomes half of it."""
    if view["max_prompt_length"] >= view["max_length"] > 1:
        yield "max_prompt_length", view["max_length"] // 2, f"max_length is {view['max_length']}"


@rule("beta", "tau")
def beta_is_tau(view: View) -> Problem | None:
    """In IPO, `beta` and `tau` are the same number: the paper and TRL name the one regularisation differently."""
    beta, tau = view["beta"], view["tau"]
    if beta != tau:
        return Problem(
            "beta",
            f"{beta} together with tau: {tau}; IPO has one regularisation, which TRL calls beta and the paper tau.",
            "Remove tau, or remove beta.",
        )
    return None


@rule("max_seq_length", "max_length")
def one_longest_sequence(view: View) -> Problem | None:
    """In the preference methods, `max_seq_length` and `max_length` are the same number."""
    sequence, whole = view["max_seq_length"], view["max_length"]
    if sequence != whole:
        return Problem(
            "max_seq_length",
            f"{sequence} together with max_length: {whole}; both say how long a prompt with a completion may be.",
            "Remove max_seq_length, or remove max_length.",
        )
    return None


@rule("response_template", "instruction_template")
def response_template_is_alpacas(view: View) -> Problem | None:
    """`response_template` other than its default goes with `instruction_template: alpaca`, which `auto` then is; other
    templates announce the response in their own way, which it may repeat."""
    given, template = view["response_template"], view["instruction_template"]
    if template in ("alpaca", "auto") or given in (ALPACA_RESPONSE, RESPONSE_MARKS.get(template)):
        return None
    return Problem(
        "response_template",
        f"{show(given)} together with instruction_template: {template}, which announces the response in its own way.",
        "Remove it, or set instruction_template: alpaca.",
    )


@rule("engine", "max_tokens_per_batch")
def trl_counts_rows(view: View) -> Problem | None:
    """`max_tokens_per_batch` does not go with `engine: trl`, whose batches are a number of rows."""
    if view["engine"] == "trl" and view["max_tokens_per_batch"] is not None:
        return Problem(
            "max_tokens_per_batch",
            f"{view['max_tokens_per_batch']} together with engine: trl, whose batches are a number of rows.",
            "Set per_device_train_batch_size instead, or remove engine.",
        )
    return None


@rule("max_prompt_length", "max_length")
def prompt_leaves_room(view: View) -> Problem | None:
    """`max_prompt_length` is below `max_length`, which the prompt shares with a completion."""
    prompt, whole = view["max_prompt_length"], view["max_length"]
    if prompt >= whole:
        return Problem(
            "max_prompt_length",
            f"must be < max_length ({whole}), got {prompt}; nothing would be left for a completion.",
            f"Set max_length: {2 * prompt}, or lower max_prompt_length.",
        )
    return None


@rule("max_tokens_per_batch", "per_device_train_batch_size")
def batch_has_one_size(view: View) -> Problem | None:
    """`max_tokens_per_batch` and a `per_device_train_batch_size` other than its default exclude each other: both give
    a micro-batch's size."""
    tokens, rows = view["max_tokens_per_batch"], view["per_device_train_batch_size"]
    if tokens is not None and not view.is_default("per_device_train_batch_size"):
        return Problem(
            "max_tokens_per_batch",
            f"{tokens} together with per_device_train_batch_size: {rows}; both give the size of a micro-batch.",
            "Remove max_tokens_per_batch, or remove per_device_train_batch_size.",
        )
    return None


@rule("label_smoothing", "loss_type")
def smoothing_fits_loss(view: View) -> Problem | None:
    """`label_smoothing` works with `loss_type` `sigmoid` and `robust`."""
    smoothing, loss = view["label_smoothing"], view["loss_type"]
    if smoothing > 0 and loss not in ("sigmoid", "robust"):
        return Problem(
            "label_smoothing",
            f"{smoothing}, but loss_type: {loss} has no label smoothing.",
            "Set loss_type: robust, or remove label_smoothing.",
        )
    return None


@rule("simpo_gamma", "loss_type")
def gamma_fits_loss(view: View) -> Problem | None:
    """In CPO, `simpo_gamma` other than its default works with `loss_type: simpo` alone."""
    gamma, loss = view["simpo_gamma"], view["loss_type"]
    if not view.is_default("simpo_gamma") and loss != "simpo":
        action = "Set loss_type: simpo, or remove simpo_gamma."
        return Problem("simpo_gamma", f"{gamma}, but loss_type: {loss} has no margin to set.", action)
    return None


@rule("reference", "ref_model_name")
def reference_model_is_named(view: View) -> Problem | None:
    """`reference: model` needs `ref_model_name`."""
    if view["reference"] == "model" and view["ref_model_name"] is None:
        action = "Set ref_model_name, or reference: auto to compare with the model that training starts from."
        return Problem("reference", "model, but ref_model_name is not set.", action)
    return None


@rule("reference", "ref_model_name")
def reference_is_one_model(view: View) -> Problem | None:
    """`ref_model_name` does not go with `reference` `adapter_off` or `copy`, which are the trained model
    itself."""
    reference, name = view["reference"], view["ref_model_name"]
    if name is not None and reference in ("adapter_off", "copy"):
        return Problem(
            "ref_model_name",
            f"{name}, but reference: {reference} compares with the model that training starts from.",
            "Set reference: model, or remove ref_model_name.",
        )
    return None


@rule("reference", "use_lora")
def adapters_can_be_turned_off(view: View) -> Problem | None:
    """`reference: adapter_off` needs `use_lora`."""
    if view["reference"] == "adapter_off" and not view["use_lora"]:
        return Problem(
            "reference",
            "adapter_off together with use_lora: false; there are no adapters to turn off.",
            "Set reference: copy or cache, or use_lora: true.",
        )
    return None
