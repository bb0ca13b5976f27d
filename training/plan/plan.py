# SPDX-License-Identifier: Apache-2.0
"""Plan: whether a run fits the memory of its device, and what would make it fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tadrib.training.config import CommonConfig, JobSpec
from tadrib.training.errors import SpecError
from tadrib.training.plan.parts import GIB, Part, parts_of
from tadrib.training.plan.shape import Shape

_SHARDED_OVER = 8


@dataclass(frozen=True, slots=True)
class Change:
    """Keys of the spec by which a run fits, what they cost, and the bytes that a device then needs."""

    keys: dict[str, Any]
    cost: str
    bytes: float


@dataclass(frozen=True, slots=True)
class Plan:
    """``parts`` of one worker, and the ``room`` in bytes that its device has; None where that is not known."""

    shape: Shape
    parts: list[Part]
    workers: int
    room: float | None
    changes: list[Change]

    @property
    def bytes(self) -> float:
        return _on_device(self.parts)

    @property
    def fits(self) -> bool:
        return self.room is None or self.bytes <= self.room


def plan_of(spec: JobSpec, shape: Shape, room: float | None) -> Plan:
    """The plan of ``spec`` on devices with ``room`` bytes; with three changes where it does not fit."""
    workers, on_gpu = spec.world_size, spec.resources.gpus_per_worker > 0
    parts = parts_of(spec.config, shape, workers, on_gpu=on_gpu)
    lacks = room is not None and _on_device(parts) > room
    changes = list(_changes(spec.config, shape, workers, room, on_gpu))[:3] if lacks and room else []
    return Plan(shape, parts, workers, room, changes)


def _on_device(parts: list[Part]) -> float:
    return sum(part.bytes for part in parts if not part.host)


def _changes(config: CommonConfig, shape: Shape, workers: int, room: float, on_gpu: bool) -> Iterator[Change]:
    """Ways to need less, those that change the training least first; each with the largest micro-batch that fits."""
    for keys, cost in _WAYS:
        of_job = {"resources.num_workers": max(workers, _SHARDED_OVER)} if "strategy" in keys else {}
        count = of_job.get("resources.num_workers", workers)
        for smaller, slower in _smaller_batches(config, workers, count):
            try:
                changed = config.replace(**keys, **smaller)
            except SpecError:  # this way contradicts another setting
                break
            needed = _on_device(parts_of(changed, shape, count, on_gpu=on_gpu))
            if needed <= room:
                yield Change({**of_job, **keys, **smaller}, "; ".join(filter(None, (cost, slower))), needed)
                break


_WAYS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"gradient_checkpointing": True}, "about a third more time"),
    ({"strategy": "zero2", "gradient_checkpointing": True}, f"{_SHARDED_OVER} GPUs or more"),
    (
        {"strategy": "zero3", "gradient_checkpointing": True},
        f"{_SHARDED_OVER} GPUs or more, and each layer's weights sent in every pass",
    ),
    (
        {"use_lora": True, "gradient_checkpointing": True},
        "adapters are trained in place of all weights",
    ),
    (
        {"use_lora": True, "load_in_4bit": True, "gradient_checkpointing": True},
        "adapters on 4-bit weights: some accuracy, and a fifth to two fifths more time",
    ),
]


def _smaller_batches(config: CommonConfig, before: int, workers: int) -> Iterator[tuple[dict[str, Any], str]]:
    """Fewer rows at once with as many more micro-batches, which leaves the steps as they are; then shorter rows.

    A step of ``before`` workers has as many rows with ``workers``, where that divides."""
    rows, steps = config.per_device_train_batch_size, config.gradient_accumulation_steps
    total, at_once = rows * steps, rows
    if (total * before) % workers == 0:
        total = total * before // workers
    if total == rows * steps:
        yield {}, ""
    while at_once > 1:
        at_once //= 2
        if total >= at_once and total % at_once == 0:
            sizes = {"per_device_train_batch_size": at_once, "gradient_accumulation_steps": total // at_once}
            yield sizes, "the same steps from smaller micro-batches"
    one = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": total}
    key = "max_length" if hasattr(config, "max_length") else "max_seq_length"
    length = getattr(config, key)
    while length > 1024:
        length //= 2
        shorter = {key: length}
        if key == "max_length" and getattr(config, "max_prompt_length", 0) >= length:
            shorter["max_prompt_length"] = length // 2
        yield (
            {**one, **shorter},
            f"rows of at most {length:,} tokens, longer ones refused or cut (truncation)",
        )


def as_mapping(plan: Plan) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "parameters": plan.shape.parameters,
        "workers": plan.workers,
        "parts": [
            {"name": part.name, "bytes": round(part.bytes), "host": part.host, "why": part.why}
            for part in plan.parts
        ],
        "bytes": round(plan.bytes),
        "room": None if plan.room is None else round(plan.room),
        "fits": plan.fits,
        "changes": [
            {"keys": change.keys, "cost": change.cost, "bytes": round(change.bytes)}
            for change in plan.changes
        ],
    }


def gib(amount: float) -> str:
    return f"{amount / GIB:,.1f} GiB"
