# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed for one process: its settings, completed from the config, and the environment it needs."""

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
    """The settings passed to DeepSpeed for ``config``; None for DDP.

    Values that transformers derives are "auto"; optimizer and scheduler are left out, because the config defines them.
    Raises SpecError for a file that is missing or not JSON.
    """
    written = read_settings(config.strategy, config.deepspeed)
    if written is None:
        return None
    derived: Settings = dict.fromkeys(_DERIVED, "auto")
    for section in ("fp16", "bf16"):
        derived[section] = {**written.get(section, {}), "enabled": "auto"}
    if zero_stage(written) == 3:
        # final/ is a plain model folder, so the full weights are gathered whatever the file says
        gathering = {"stage3_gather_16bit_weights_on_model_save": True}
        derived["zero_optimization"] = {**written["zero_optimization"], **gathering}
    return {key: value for key, value in written.items() if key not in SECTIONS} | derived


def precision(config: CommonConfig) -> Literal["bfloat16", "float16"] | None:
    """The 16-bit dtype that DeepSpeed computes in, with float32 weights in its optimizer; None for float32."""
    view = config.view()
    if computes_in(view, "bfloat16"):
        return "bfloat16"
    return "float16" if computes_in(view, "float16") else None


def check_tools(settings: Settings) -> None:
    """Raise ResourceError if DeepSpeed, or the compiler that these settings require, is missing on this machine."""
    problems = []
    if importlib.util.find_spec("deepspeed") is None:
        problems.append(
            Problem(
                "strategy",
                "needs DeepSpeed, which is not installed.",
                "Install it with: pip install deepspeed==0.19.8",
            )
        )
    missing = [tool for tool in ("c++", "ninja") if shutil.which(tool) is None]
    if compiles_optimizer(settings) and missing:
        problems.append(
            Problem(
                "deepspeed",
                f"its offloaded optimizer is compiled on first use, and this machine lacks {' and '.join(missing)}.",
                'Add "zero_force_ds_cpu_optimizer": false to the file to use torch\'s optimizer, as'
                " strategy: zero3-offload does; or install a C++ compiler and ninja.",
            )
        )
    if problems:
        raise ResourceError("the strategy cannot be used on this machine", problems)


def prepare_process(settings: Settings) -> None:
    """Set up this process for DeepSpeed: device, process group, and log levels.

    Raises ResourceError like `check_tools`.
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


def warn_about_compilation(config: CommonConfig) -> None:
    """Warn that compiling DeepSpeed's CPU optimizer takes minutes, unless it is compiled already."""
    from torch.utils.cpp_extension import get_default_build_root

    settings = read_settings(config.strategy, config.deepspeed)
    if settings is None or not compiles_optimizer(settings):
        return
    built = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    if not any(built.rglob("cpu_adam.so")):
        warn(
            "deepspeed: its offloaded optimizer is compiled first, once per machine, which takes about two minutes."
            ' Set "zero_force_ds_cpu_optimizer": false to use torch\'s optimizer, which needs no compilation.'
        )


def is_loaded_in_shards() -> bool:
    """Whether a model loaded now is partitioned over the workers while it is read (ZeRO-3)."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    return is_deepspeed_zero3_enabled()


def reset_deepspeed() -> None:
    """Remove what an earlier DeepSpeed training left in this process. Does not import DeepSpeed."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    import_deepspeed_on_demand()
    unset_hf_deepspeed_config()
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
