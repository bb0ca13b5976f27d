# SPDX-License-Identifier: Apache-2.0
"""Process group: how workers find each other once the models that they load are on their machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray.train.torch import TorchConfig

from tadrib.ray_jobs.worker.models import fetch
from tadrib.training.config import CommonConfig

_OfTorch: Any = TorchConfig().backend_cls


class _FetchedFirst(_OfTorch):
    """A download may take longer than the workers of a process group wait for each other."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(fetch, backend_config.models_of)
        super().on_start(worker_group, backend_config)


@dataclass
class ProcessGroup(TorchConfig):
    """torch's process group over ``backend``; ``models_of`` are the settings that name the models."""

    models_of: CommonConfig | None = None

    @property
    def backend_cls(self) -> Any:
        return _FetchedFirst
