# SPDX-License-Identifier: Apache-2.0
"""Rules on how workers share the model: what goes with which strategy, and what a DeepSpeed file may say."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tadrib.training.config.rules.adjusters import Change, adjuster
from tadrib.training.config.rules.common import rule
from tadrib.training.config.strategy import Settings, is_json, offloads, read_settings, zero_stage
from tadrib.training.config.view import View
from tadrib.training.errors import Problem, SpecError

_OFFLOADABLE = ("adamw_torch", "adamw_torch_fused", "adagrad", "rmsprop", "sgd")


@adjuster("strategy", "deepspeed", "optim")
def offloaded_optimizer_is_fused(view: View) -> Iterator[Change]:
    """With the optimizer offloaded, `optim` becomes `adamw_torch_fused`, several times as fast on a CPU."""
    settings = settings_of(view)
    if settings is not None and offloads(settings, "optimizer") and view["optim"] == "adamw_torch":
        yield (
            "optim",
            "adamw_torch_fused",
            "the offloaded optimizer runs on the CPU, where the fused one is faster",
        )


@rule("strategy", "deepspeed")
def one_strategy(view: View) -> Problem | None:
    """`strategy` other than `ddp` and `deepspeed` exclude each other: the preset is a DeepSpeed file, too."""
    if view["strategy"] != "ddp" and view["deepspeed"] is not None:
        return Problem(
            "strategy",
            f"{view['strategy']} together with deepspeed: {view['deepspeed']}; each is a DeepSpeed configuration.",
            "Remove strategy to use your file, or deepspeed to use the preset.",
        )
    return None


@rule("strategy", "deepspeed")
def deepspeed_file_is_json(view: View) -> Problem | None:
    """A `deepspeed` file that is on this machine holds a JSON mapping."""
    given = view["deepspeed"]
    if given is None or not (is_json(given) or os.path.exists(given)):
        return None
    try:
        read_settings(view["strategy"], given)
    except SpecError as error:
        return error.problems[0]
    return None


@rule("strategy", "deepspeed", "load_in_4bit", "load_in_8bit")
def quantized_weights_stay_whole(view: View) -> Problem | None:
    """Weights in 4 or 8 bits cannot be sharded: `load_in_4bit` and `load_in_8bit` exclude ZeRO-3."""
    key = next((key for key in ("load_in_4bit", "load_in_8bit") if view[key]), None)
    if key and _stage(view) == 3:
        return Problem(
            key,
            f"true together with {name_of(view)}, which shards the weights; quantized weights cannot be sharded.",
            f"{_keeps_whole(view)} to keep {key}, as quantized weights fit in less memory already;"
            f" or {key}: false to shard the weights.",
        )
    return None


@rule("strategy", "deepspeed", "ddp_find_unused_parameters")
def unused_parameters_are_ddps(view: View) -> Problem | None:
    """`ddp_find_unused_parameters: true` is for DDP; DeepSpeed handles such parameters by itself."""
    if view["ddp_find_unused_parameters"] and settings_of(view) is not None:
        return Problem(
            "ddp_find_unused_parameters",
            f"true together with {name_of(view)}; it is a setting of DDP, and DeepSpeed needs no such search.",
            f"Remove it, or {_to_ddp(view)}.",
        )
    return None


@rule("strategy", "deepspeed", "ddp_backend", "run.device")
def gpus_shard_over_nccl(view: View) -> Problem | None:
    """On GPUs, a DeepSpeed strategy does not go with `ddp_backend: gloo`."""
    if view["ddp_backend"] == "gloo" and view["run.device"] == "cuda" and settings_of(view) is not None:
        return Problem(
            "ddp_backend",
            f"gloo together with {name_of(view)} on GPUs; DeepSpeed exchanges their shards over NCCL.",
            f"Remove ddp_backend, or {_to_ddp(view)}.",
        )
    return None


@rule("strategy", "deepspeed", "optim")
def sharded_optimizer_is_elementwise(view: View) -> Problem | None:
    """`optim: adafactor` does not go with a DeepSpeed strategy: it looks at whole weights, and ZeRO flattens them."""
    if view["optim"] == "adafactor" and _stage(view) > 0:
        return Problem(
            "optim",
            f"adafactor together with {name_of(view)}; its update looks at whole weights, and ZeRO cuts them up.",
            f"Set optim: adamw_torch, whose states ZeRO shards, or {_to_ddp(view)}.",
        )
    return None


@rule("strategy", "deepspeed", "optim")
def offloaded_optimizer_runs_on_cpu(view: View) -> Problem | None:
    """With the optimizer offloaded, `optim` is one that also runs on a CPU: AdamW, Adagrad, RMSprop or SGD of torch."""
    settings = settings_of(view)
    if (
        settings is None
        or not offloads(settings, "optimizer")
        or view["optim"] in (*_OFFLOADABLE, "adafactor")
    ):
        return None
    return Problem(
        "optim",
        f"{view['optim']} together with {name_of(view)}, which keeps the optimizer in main memory;"
        " bitsandbytes' optimizers are not made for that.",
        "Set optim: adamw_torch_fused.",
    )


@rule("strategy", "deepspeed", "resources.num_workers")
def sharded_runs_have_fixed_workers(view: View) -> Problem | None:
    """A DeepSpeed strategy needs a fixed `resources.num_workers`: its checkpoints are in one shard per worker."""
    workers = view["resources.num_workers"]
    if _stage(view) > 0 and not isinstance(workers, int):
        return Problem(
            "resources.num_workers",
            f"{{min: {workers.min}, max: {workers.max}}} together with {name_of(view)}; its optimizer shards"
            " cannot be dealt to another number of workers.",
            f"Set resources.num_workers: {workers.max}, or {_to_ddp(view)}.",
        )
    return None


@rule("strategy", "deepspeed", "engine")
def trl_trains_with_ddp(view: View) -> Problem | None:
    """`engine: trl`, which is there for comparison, trains with DDP."""
    if view["engine"] == "trl" and settings_of(view) is not None:
        return Problem(
            "engine",
            f"trl together with {name_of(view)}; the comparison with TRL is of DDP runs.",
            f"Remove engine, or {_to_ddp(view)}.",
        )
    return None


def settings_of(view: View) -> Settings | None:
    """The DeepSpeed settings; None with DDP, and for a file that is not on this machine or cannot be read."""
    try:
        return read_settings(view["strategy"], view["deepspeed"])
    except SpecError:
        return None


def _stage(view: View) -> int:
    settings = settings_of(view)
    return 0 if settings is None else zero_stage(settings)


def _to_ddp(view: View) -> str:
    """What the user changes to train with DDP."""
    return "set strategy: ddp" if view["deepspeed"] is None else "remove deepspeed"


def _keeps_whole(view: View) -> str:
    return "Set strategy: ddp or zero2" if view["deepspeed"] is None else "Remove deepspeed"


def name_of(view: View) -> str:
    """How the user chose the strategy, as a message repeats it."""
    given = view["deepspeed"]
    if given is None:
        return f"strategy: {view['strategy']}"
    return "deepspeed" if is_json(given) else f"deepspeed: {given}"
