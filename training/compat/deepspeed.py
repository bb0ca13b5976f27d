# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed 0.19.8: what it compiles, what is in its checkpoints, and shards made whole.

None of this has a public place: https://github.com/deepspeedai/DeepSpeed/tree/v0.19.8/deepspeed
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any

MADE_FOR = "0.19.8"
# What the states of its optimizers hold besides tensors and Python's own types: plain records.
_RECORDS = (
    ("deepspeed.runtime.fp16.loss_scaler", "LossScaler"),
    ("deepspeed.runtime.fp16.loss_scaler", "DynamicLossScaler"),
    ("deepspeed.runtime.zero.config", "ZeroStageEnum"),
    ("deepspeed.utils.tensor_fragment", "fragment_address"),
)


def compile_no_shared_memory() -> None:
    """On a CPU, `init_distributed` would compile what only inference uses."""
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def records() -> list[Any]:
    """The classes in a checkpoint that loading may build; none where DeepSpeed is not loaded, as nothing saved by it is
    read then."""
    if "deepspeed" not in sys.modules:
        return []
    return [getattr(importlib.import_module(module), name) for module, name in _RECORDS]


def whole(weights: list) -> contextlib.AbstractContextManager:
    """Gathers those of ``weights`` that are in shards now; tied weights may be whole already."""
    from deepspeed.runtime.zero.partition_parameters import GatheredParameters, ZeroParamStatus

    absent = [w for w in weights if getattr(w, "ds_status", None) is ZeroParamStatus.NOT_AVAILABLE]
    return GatheredParameters(absent) if absent else contextlib.nullcontext()
