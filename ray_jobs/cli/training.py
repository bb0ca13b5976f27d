# SPDX-License-Identifier: Apache-2.0
"""Commands that train in their own process: train, and launch, which is the command of a job."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tadrib.ray_jobs.cli.arguments import Fresh, Overrides, Spec
from tadrib.training.extras import require


def train(spec: Spec, overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Train on Ray: on the cluster at RAY_ADDRESS, else the Ray of this machine, else one started for the run.

    The same command continues a run that was stopped or failed.
    """
    require("ray")
    from tadrib.ray_jobs.local.runs import LocalRuns

    LocalRuns().submit(spec, overrides or [], fresh=fresh)


def launch(
    spec: Spec,
    overrides: Overrides = None,
    fresh: Fresh = False,
    directory: Annotated[
        Path | None, typer.Option(help="Directory that relative paths in the spec are relative to.")
    ] = None,
    relative: Annotated[
        list[str] | None, typer.Option(help="Key of the spec whose path must exist in that directory.")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Command to show for continuing the run.")] = None,
) -> None:
    """Train on the Ray cluster that this machine or job is part of; - reads the spec from standard input.

    For use in a job: ray job submit --address http://head:8265 -- tadrib launch spec.yaml
    """
    require("ray")
    from tadrib.ray_jobs.driver.joining import launch_on_cluster

    command = resume or shlex.join(["tadrib", "launch", str(spec), *(overrides or [])])
    launch_on_cluster(
        spec, overrides or [], command=command, fresh=fresh, directory=directory, relative=relative or []
    )


COMMANDS: dict[str, Callable[..., None]] = {"train": train, "launch": launch}
