# SPDX-License-Identifier: Apache-2.0
"""Rules on where a run runs: its name, its workers, and what its device can do."""

from __future__ import annotations

import math
import re

from tadrib.training.config.rules.common import rule
from tadrib.training.config.run_name import NAME_LENGTH, RUN_NAME, as_label
from tadrib.training.config.view import View
from tadrib.training.config.yaml.text import as_typed
from tadrib.training.errors import Problem, clip

QUANTITY = re.compile(r"^([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGTPE]i|[kMGTPE])$")


@rule("name")
def name_is_a_label(view: View) -> Problem | None:
    """`name` is a DNS label of at most 40 characters (RFC 1123): it names files and Kubernetes objects."""
    name = view["name"]
    if re.fullmatch(RUN_NAME, name) and len(name) <= NAME_LENGTH:
        return None
    found = f"got {len(name)} characters" if len(name) > NAME_LENGTH else f"got {as_typed(name)}"
    label = as_label(name)
    return Problem(
        "name",
        f"must be at most {NAME_LENGTH} lower-case letters, digits and inner hyphens, {found}.",
        f"Did you mean {as_typed(label)}?" if label else "Example: arabic-dpo.",
    )


@rule("resources.num_workers")
def worker_range_is_ordered(view: View) -> Problem | None:
    """In `resources.num_workers: {min, max}`, `min` is not above `max`."""
    workers = view["resources.num_workers"]
    if not isinstance(workers, int) and workers.min > workers.max:
        return Problem(
            "resources.num_workers",
            f"min ({workers.min}) must be <= max ({workers.max}).",
            f"Write {{min: {workers.max}, max: {workers.min}}}.",
        )
    return None


@rule("resources.workers_per_node", "resources.num_workers")
def nodes_are_filled(view: View) -> Problem | None:
    """`resources.workers_per_node` divides `resources.num_workers`; of a range, `min` and `max`."""
    together, workers = view["resources.workers_per_node"], view["resources.num_workers"]
    least, most = (workers, workers) if isinstance(workers, int) else (workers.min, workers.max)
    if together is None or (least % together == 0 and most % together == 0):
        return None
    whole = [max(1, count // together) * together for count in (least, most)]
    return Problem(
        "resources.workers_per_node",
        f"{together}, which does not divide num_workers ({_range(least, most)}); a run takes whole nodes.",
        f"Set resources.workers_per_node: {most_together(together, least, most)}, or resources.num_workers:"
        f" {_range(*whole)}.",
    )


def _range(least: int, most: int) -> str:
    return str(most) if least == most else f"{{min: {least}, max: {most}}}"


def most_together(most: int, *counts: int) -> int:
    """The largest number up to ``most`` that divides all ``counts``."""
    whole = math.gcd(*counts)
    return max(number for number in range(1, min(most, whole) + 1) if whole % number == 0)


@rule("resources.gpus_per_worker", "resources.num_workers")
def one_gpu_per_worker(view: View) -> Problem | None:
    """`resources.gpus_per_worker` is 0 or 1: a worker is one process, and a process trains on one GPU."""
    gpus, workers = view["resources.gpus_per_worker"], view["resources.num_workers"]
    if gpus > 1:
        total = (
            gpus * workers
            if isinstance(workers, int)
            else f"{{min: {gpus * workers.min}, max: {gpus * workers.max}}}"
        )
        return Problem(
            "resources.gpus_per_worker",
            f"must be 0 or 1, got {gpus}; a worker is one process and trains on one GPU.",
            f"Set resources.num_workers: {total} and resources.gpus_per_worker: 1.",
        )
    return None


@rule("resources.memory_per_worker")
def memory_is_a_quantity(view: View) -> Problem | None:
    """`resources.memory_per_worker` is a Kubernetes quantity: a number and Ki, Mi, Gi, Ti (or k, M, G, T)."""
    memory = view["resources.memory_per_worker"]
    if memory is None or re.fullmatch(QUANTITY, memory):
        return None
    match = re.match(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([kKmMgGtT]?)", memory)
    advice = f"Did you mean {match[1]}{match[2].upper()}i?" if match and match[2] else "Example: 64Gi."
    return Problem(
        "resources.memory_per_worker",
        f"must be a quantity such as 64Gi, got {as_typed(clip(memory))}.",
        advice,
    )


@rule("fp16", "run.device", "run.device_reason")
def fp16_has_a_gpu(view: View) -> Problem | None:
    """`fp16` needs a GPU."""
    if view["fp16"] and view["run.device"] == "cpu":
        return Problem(
            "fp16",
            f"true, but {view['run.device_reason']}, and float16 training needs a GPU.",
            "Use a GPU (in a spec, resources.gpus_per_worker: 1), or set fp16: false.",
        )
    return None


@rule("use_liger_kernel", "run.device", "run.device_reason")
def liger_has_a_gpu(view: View) -> Problem | None:
    """`use_liger_kernel` needs a GPU: its kernels are written in Triton."""
    if view["use_liger_kernel"] and view["run.device"] == "cpu":
        return Problem(
            "use_liger_kernel",
            f"true, but {view['run.device_reason']}, and liger-kernel computes on GPUs only.",
            "Use a GPU (in a spec, resources.gpus_per_worker: 1), or set use_liger_kernel: false.",
        )
    return None


@rule("use_liger_kernel", "engine")
def liger_is_for_our_engine(view: View) -> Problem | None:
    """`use_liger_kernel` does not go with `engine: trl`, where it would also replace losses."""
    if view["use_liger_kernel"] and view["engine"] == "trl":
        return Problem(
            "use_liger_kernel",
            "true together with engine: trl, where it would also replace TRL's losses by others.",
            "Set use_liger_kernel: false, or remove engine.",
        )
    return None


@rule("ddp_backend", "run.device", "run.device_reason")
def nccl_has_a_gpu(view: View) -> Problem | None:
    """`ddp_backend: nccl` needs GPUs."""
    if view["ddp_backend"] == "nccl" and view["run.device"] == "cpu":
        return Problem(
            "ddp_backend",
            f"nccl, but {view['run.device_reason']}, and NCCL connects GPUs only.",
            "Use a GPU (in a spec, resources.gpus_per_worker: 1), or set ddp_backend: gloo.",
        )
    return None


@rule("torch_dtype", "bf16", "fp16", "use_lora", "run.device", "run.bf16")
def bfloat16_has_a_gpu(view: View) -> Problem | None:
    """On a GPU without bfloat16, neither `torch_dtype: bfloat16` nor `bf16` can be set."""
    if view["run.device"] == "cpu" or view["run.bf16"]:
        return None
    key = "bf16" if view["bf16"] else "torch_dtype" if view["torch_dtype"] == "bfloat16" else None
    if key is None:
        return None
    return Problem(
        key,
        f"{'true' if key == 'bf16' else 'bfloat16'}, but this GPU does not compute in bfloat16.",
        "Use a GPU that does (Ampere or later), or remove this key for a default that fits.",
    )


@rule("output_dir", "run.checkpoints")
def checkpoints_stay_in_run_directory(view: View) -> Problem | None:
    """In a spec, `output_dir` follows from `storage_path` and `name`, and is best left out."""
    given, derived = view["output_dir"], view["run.checkpoints"]
    if given != derived:
        return Problem(
            "output_dir",
            f"{given}, but the checkpoints of a spec's run go to {derived}.",
            "Remove output_dir; set storage_path to place the run directory.",
        )
    return None
