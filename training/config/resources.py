# SPDX-License-Identifier: Apache-2.0
"""Resources: the workers a run asks for."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from tadrib.training.config.rules.job import QUANTITY
from tadrib.training.config.section import FrozenSection
from tadrib.training.config.types import Index, Positive, Workers

_UNITS = {
    letter + suffix: base**power
    for suffix, base in (("i", 1024), ("", 1000))
    for power, letter in enumerate("KMGTPE" if suffix else "kMGTPE", start=1)
}


class WorkerRange(BaseModel):
    """Bounds of an elastic run: it starts with ``min`` workers or more and never uses more than ``max``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    min: Workers
    """Fewest workers to train with."""
    max: Workers
    """Most workers to train with."""


def _shape(value: Any) -> str:
    return "range" if isinstance(value, (dict, WorkerRange)) else "count"


def _number_to_text(value: Any) -> Any:
    """A number without its unit is for the rule on quantities to explain."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class Resources(FrozenSection):
    """The workers a run asks for; one worker is one training process."""

    key_prefix: ClassVar[str] = "resources."

    num_workers: Annotated[
        Annotated[Workers, Tag("count")] | Annotated[WorkerRange, Field(strict=False), Tag("range")],
        Discriminator(_shape),
    ] = 1
    """Workers: a number, or `{min: 2, max: 8}` for a run that continues with fewer or more as machines come
    and go."""
    workers_per_node: Workers | None = None
    """Workers that stand together on one node, whose GPUs then reach each other over NVLink; on Kubernetes they share
    one pod. null: on Kubernetes with GPUs, what the chart's `platform.gpu.perNode` says; otherwise 1, which leaves
    the placement of each worker to Ray."""
    gpus_per_worker: Index = 0
    """GPUs of one worker; 0 trains on CPU."""
    cpus_per_worker: Positive = 1.0
    """CPU cores of one worker; may be a fraction."""
    memory_per_worker: Annotated[
        str | None, BeforeValidator(_number_to_text), Field(json_schema_extra={"pattern": QUANTITY.pattern})
    ] = None
    """Memory of one worker as a Kubernetes quantity such as `64Gi`; null asks for no particular amount."""

    @property
    def elastic(self) -> bool:
        return isinstance(self.num_workers, WorkerRange)

    @property
    def min_workers(self) -> int:
        return self.num_workers.min if isinstance(self.num_workers, WorkerRange) else self.num_workers

    @property
    def max_workers(self) -> int:
        return self.num_workers.max if isinstance(self.num_workers, WorkerRange) else self.num_workers

    @property
    def workers_together(self) -> int:
        """Workers that one node must have room for."""
        return self.workers_per_node or 1

    @property
    def memory_bytes(self) -> int | None:
        """``memory_per_worker`` in bytes, rounded down; None when no amount is asked for."""
        match = re.fullmatch(QUANTITY, self.memory_per_worker or "")
        return int(float(match[1]) * _UNITS[match[2]]) if match else None
