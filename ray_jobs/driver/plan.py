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
    """``spec`` is what the driver prepares and the workers train: its defaults are adjusted, and as a worker's machine
    and working directory may be others, paths that exist here are absolute and the text of a DeepSpeed file stands in
    place of its path. ``notices`` are what the user must be told: each default that was replaced and each setting
    without effect.
    """

    spec: JobSpec
    notices: tuple[str, ...]

    @classmethod
    def of(cls, given: JobSpec, run: RunDirectory) -> Plan:
        """The plan of a start of the spec ``given``, by which a run is known again and which stays as it is.

        Raises SpecError or ResourceError when the strategy's DeepSpeed cannot be used.
        """
        placed = given.with_config(given.config)
        if run.store is None:
            placed.storage_path = str(run.path.parent)
        resolved = resolve(placed)
        _settle_strategy(resolved.spec.config)
        for key, value, mark in list(resolved.spec.config.paths()):
            if mark.must_exist and is_here(value):
                resolved.spec.config.place(key, os.path.abspath(value))
        return cls(resolved.spec, tuple(resolved.notices))


def _settle_strategy(config: CommonConfig) -> None:
    """Put the text of a DeepSpeed file in place of its path, which other machines may not have."""
    settings = read_settings(config.strategy, config.deepspeed)
    if settings is None:
        return
    from tadrib.training.model.deepspeed import check_tools
    from tadrib.training.model.hardware import warn_about_preset

    warn_about_preset(config)
    check_tools(settings)
    config.deepspeed = as_text(config.deepspeed)
