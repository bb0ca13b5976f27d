# SPDX-License-Identifier: Apache-2.0
"""Sizes of the GPU check: on a GPU, and on a CPU, where it only shows that the check itself works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """``layers`` are those of the models whose paths are checked: what a path has to fit is the width.

    ``peer`` is the model that both sides of a comparison train, on ``rows`` whose parts are cut ``shorter`` that often.
    ``head`` is tokens, width and vocabulary of the head that is measured by ``chunks`` of tokens. The demo trains for
    ``demo_seconds`` and is evaluated on ``demo_rows``.
    """

    device: str
    dtype: Literal["bfloat16", "float32"]
    shapes: tuple[str, ...]
    layers: int
    tokens: int
    peer: dict[str, Any]
    rows: int
    shorter: int
    head: tuple[int, int, int]
    chunks: tuple[int, ...]
    demo_seconds: float
    demo_rows: int


GPU = Sizes(
    device="cuda",
    dtype="bfloat16",
    shapes=("Qwen2.5-0.5B", "Qwen2.5-1.5B", "Qwen2.5-7B"),
    layers=4,
    tokens=2048,
    peer={"shape": "Qwen2.5-0.5B", "layers": 24},
    rows=256,
    shorter=1,
    head=(8192, 3584, 152_064),
    chunks=(110, 512, 1024, 2048, 4096),
    demo_seconds=45.0,
    demo_rows=382,
)
DRY = Sizes(
    device="cpu",
    dtype="float32",
    shapes=("tiny",),
    layers=1,
    tokens=128,
    peer={"shape": "tiny", "layers": 1},
    rows=4,
    shorter=32,
    head=(64, 16, 1000),
    chunks=(16, 64),
    demo_seconds=1.0,
    demo_rows=8,
)


def attempt(case: str, work: Callable[[], Record]) -> Iterator[Record]:
    """The record of one case, with its seconds; a case that fails is said so and does not end the part."""
    began = time.monotonic()
    try:
        found = work()
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"[:2000]}
    yield {"case": case, **found, "seconds": round(time.monotonic() - began, 1)}
    free()


def free() -> None:
    """Give back what a case held on the GPU."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """Most that was allocated on the GPU since the last `free`; None on a CPU, where nothing resets it."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
