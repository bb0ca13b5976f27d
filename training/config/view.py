# SPDX-License-Identifier: Apache-2.0
"""View: the flat picture of a config or spec, as far as it could be read, that rules and adjusters look
at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tadrib.training.config.locations import inside


@dataclass(frozen=True, slots=True)
class View:
    """Values by dotted key (``lora_r``, ``resources.gpus_per_worker``); a value that did not parse is absent.

    ``given`` holds the keys the user wrote; all others carry their default, which ``defaults`` has of every field that
    is not required. Keys that start with ``run.`` are
    facts about the run rather than settings, and are present only where they are known:

    - ``run.device``: "cpu" or "cuda"; ``run.device_reason``: the half-sentence that says why
    - ``run.bf16``: whether the device computes in bfloat16
    - ``run.metrics``: metrics on held-out rows, as `training.config.metrics` has them
    - ``run.eval_data``: whether there is data to evaluate on
    - ``run.may_split``: whether the rows are still to be read, so that some can be held out
    - ``run.checkpoints``: where the checkpoints of a spec's run go
    """

    values: Mapping[str, Any]
    given: frozenset[str]
    defaults: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def has(self, keys: Iterable[str]) -> bool:
        return all(key in self.values for key in keys)

    def with_values(self, **changes: Any) -> View:
        """The same view with some values replaced; what counts as given stays."""
        return replace(self, values={**self.values, **changes})

    def joined(self, other: View) -> View:
        """The view of two sections together."""
        defaults = {**self.defaults, **other.defaults}
        return View({**self.values, **other.values}, self.given | other.given, defaults)

    def is_default(self, key: str) -> bool:
        """Whether ``key`` has its field's default, which a spec may also spell out."""
        return key in self.defaults and self.values.get(key) == self.defaults[key]

    def with_device(self, device: str, reason: str, bf16: bool | None = None) -> View:
        """The view with what is known of the device; ``bf16=None`` leaves that open."""
        facts = {"run.device": device, "run.device_reason": reason}
        return self.with_values(**facts, **({} if bf16 is None else {"run.bf16": bf16}))

    def with_eval_data(self, known: bool | None = None) -> View:
        """The view with ``run.eval_data``: as ``known`` of rows that are read already, or by the settings, where a
        path or a split means yes."""
        if known is not None:
            return self.with_values(**{"run.eval_data": known, "run.may_split": False})
        if not self.has(("eval_dataset_path", "validation_split", "datasets")):
            return self
        named = self["eval_dataset_path"] is not None or any(share > 0 for share in self.splits())
        return self.with_values(**{"run.eval_data": named, "run.may_split": True})

    def splits(self) -> list[float]:
        """The share of each dataset that is held out."""
        shares = [source.split for source in self["datasets"]] or [None]
        return [self["validation_split"] if share is None else share for share in shares]

    def with_run_directory(self) -> View:
        """The view of a spec with ``run.checkpoints``, which is also ``output_dir`` unless another one was
        set."""
        if not self.has(("storage_path", "name")):
            return self
        checkpoints = inside(self["storage_path"], self["name"], "checkpoints")
        placed = self.with_values(**{"run.checkpoints": checkpoints})
        if self.is_default("output_dir"):
            return replace(placed.with_values(output_dir=checkpoints), given=self.given - {"output_dir"})
        return placed
