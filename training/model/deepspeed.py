# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed for one process: its settings with what the config says filled in, and the surroundings it needs."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import Literal

import torch.distributed as dist

from tadrib.training.compat.accelerate import import_deepspeed_on_demand
from tadrib.training.compat.deepspeed import compile_no_shared_memory
from tadrib.training.config import CommonConfig
from tadrib.training.config.rules.deepspeed import computes_in
from tadrib.training.config.strategy import (
    SECTIONS,
    Settings,
    compiles_optimizer,
    read_settings,
    zero_stage,
)
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.model.hardware import local_device
from tadrib.training.notices import warn

_DERIVED = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
)


def deepspeed_settings(config: CommonConfig) -> Settings | None:
    """What DeepSpeed is given for ``config``; None for DDP. What transformers derives stands as "auto"; optimizer and
    scheduler are the config's.

    Raises SpecError for a file that is missing or no JSON.
    """
    written = read_settings(config.strategy, config.deepspeed)
    if written is None:
        return None
    derived: Settings = dict.fromkeys(_DERIVED, "auto")
    for section in ("fp16", "bf16"):
        derived[section] = {**written.get(section, {}), "enabled": "auto"}
    if zero_stage(written) == 3:
        # final/ is a plain model directory, so the whole weights are gathered whatever the file says
        gathering = {"stage3_gather_16bit_weights_on_model_save": True}
        derived["zero_optimization"] = {**written["zero_optimization"], **gathering}
    return {key: value for key, value in written.items() if key not in SECTIONS} | derived


def precision(config: CommonConfig) -> Literal["bfloat16", "float16"] | None:
    """The 16-bit dtype DeepSpeed computes in, its optimizer holding the weights in float32; None for float32."""
    view = config.view()
    if computes_in(view, "bfloat16"):
        return "bfloat16"
    return "float16" if computes_in(view, "float16") else None


def check_tools(settings: Settings) -> None:
    """Raise ResourceError when DeepSpeed, or the compiler that these settings make it call, is not on this machine."""
    problems = []
    if importlib.util.find_spec("deepspeed") is None:
        problems.append(
            Problem("strategy", "needs DeepSpeed, which is not installed.", "pip install deepspeed==0.19.8.")
        )
    missing = [tool for tool in ("c++", "ninja") if shutil.which(tool) is None]
    if compiles_optimizer(settings) and missing:
        problems.append(
            Problem(
                "deepspeed",
                f"its offloaded optimizer is compiled when first used, and {' and '.join(missing)} is not here.",
                'Add "zero_force_ds_cpu_optimizer": false to the file, which takes torch\'s optimizer, as'
                " strategy: zero3-offload does; or install a C++ compiler and ninja.",
            )
        )
    if problems:
        raise ResourceError("the strategy cannot be used on this machine", problems)


def ready_process(settings: Settings) -> None:
    """Make this process one that DeepSpeed can work in: its device, a process group, no needless noise.

    Raises ResourceError as `check_tools`.
    """
    check_tools(settings)
    device = local_device().type
    os.environ.setdefault("DS_ACCELERATOR", device)
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        os.environ.setdefault(name, value)
    backend = "gloo" if device == "cpu" else "nccl"
    if not dist.is_initialized() and os.environ["WORLD_SIZE"] == "1":
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    warnings.filterwarnings("ignore", message="`torch.distributed.*is deprecated", category=FutureWarning)
    import deepspeed

    if device == "cpu":
        compile_no_shared_memory()
    deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False)
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)


def tell_of_compiling(config: CommonConfig) -> None:
    """Say before the first worker of a machine compiles DeepSpeed's CPU optimizer that this takes its time."""
    from torch.utils.cpp_extension import get_default_build_root

    settings = read_settings(config.strategy, config.deepspeed)
    if settings is None or not compiles_optimizer(settings):
        return
    built = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    if not any(built.rglob("cpu_adam.so")):
        warn(
            "deepspeed: its offloaded optimizer is compiled first, once on each machine, which takes about two minutes."
            ' "zero_force_ds_cpu_optimizer": false takes torch\'s optimizer, which needs no compiling.'
        )


def is_loaded_in_shards() -> bool:
    """Whether a model loaded now is partitioned over the workers as it is read (ZeRO-3)."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    return is_deepspeed_zero3_enabled()


def leave_deepspeed() -> None:
    """Undo what an earlier DeepSpeed run left in this process, and leave DeepSpeed unloaded in any other."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    import_deepspeed_on_demand()
    unset_hf_deepspeed_config()
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
