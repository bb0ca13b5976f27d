# SPDX-License-Identifier: Apache-2.0
"""Plan: what one launch of a run trains, computed once from the spec and fixed from then on."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tadrib.training.config import CommonConfig, JobSpec, resolve
from tadrib.training.config.locations import is_here
from tadrib.training.config.strategy import as_text, read_settings
from tadrib.training.run.directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Plan:
    """``spec`` is what the driver prepares and the workers train. Its defaults are adjusted. As workers may be on other
    machines, paths that exist here are absolute, and a DeepSpeed file is replaced by its text. ``notices`` is what the
    user must be told: each default that was adjusted, and each setting without effect.
    """

    spec: JobSpec
    notices: tuple[str, ...]

    @classmethod
    def of(cls, given: JobSpec, run: RunDirectory) -> Plan:
        """The plan of a launch of the spec ``given``, which stays the spec that identifies the run.

        Raises SpecError or ResourceError if the strategy's DeepSpeed cannot be used.
        """
        placed = given
        if run.store is None:
            placed = given.model_copy(update={"storage_path": str(run.path.parent)})
        resolved = resolve(placed)
        config = resolved.spec.config
        # the values are not checked again: they are those that passed, written differently
        config = config.with_paths(
            {
                key: os.path.abspath(value)
                for key, value, mark in config.paths()
                if mark.must_exist and is_here(value)
            }
        ).model_copy(update=_deepspeed(resolved.spec.config))
        return cls(resolved.spec.with_config(config), tuple(resolved.notices))


def _deepspeed(config: CommonConfig) -> dict[str, str | None]:
    """The text of the run's DeepSpeed file in place of its path, which other machines may not have; empty without."""
    settings = read_settings(config.strategy, config.deepspeed)
    if settings is None:
        return {}
    from tadrib.training.model.deepspeed import check_tools
    from tadrib.training.model.hardware import warn_about_preset

    warn_about_preset(config)
    check_tools(settings)
    return {"deepspeed": as_text(config.deepspeed)}
