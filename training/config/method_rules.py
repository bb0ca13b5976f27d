# SPDX-License-Identifier: Apache-2.0
"""Rules on the settings that only some methods have."""

from __future__ import annotations

from training.config.rules import rule
from training.config.view import View
from training.errors import Problem


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
    if tokens is not None and rows != 4:
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
    if gamma != 1.0 and loss != "simpo":
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
