# SPDX-License-Identifier: Apache-2.0
"""Commands that train where they are typed: train, and launch, which is the command of a job."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tadrib.ray_jobs.cli.arguments import Fresh, Overrides, Spec
from tadrib.training.extras import require


def train(spec: Spec, overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Train on Ray: the cluster of RAY_ADDRESS or of this machine, or one started for the run.

    The same command again continues a run that was stopped or failed.
    """
    require("ray")
    from tadrib.ray_jobs.local.runs import LocalRuns

    LocalRuns().submit(spec, overrides or [], fresh=fresh)


def launch(
    spec: Spec,
    overrides: Overrides = None,
    fresh: Fresh = False,
    directory: Annotated[
        Path | None, typer.Option(help="Directory from which relative paths of the spec are read.")
    ] = None,
    relative: Annotated[
        list[str] | None, typer.Option(help="Key of the spec whose path must be found from there.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="Command to show as the way to continue the run.")
    ] = None,
) -> None:
    """Train on the Ray cluster that this machine or job is part of; - reads the spec from standard input.

    This is what a job runs: ray job submit --address http://head:8265 -- tadrib launch spec.yaml
    """
    require("ray")
    from tadrib.ray_jobs.driver.joining import launch_here

    command = resume or shlex.join(["tadrib", "launch", str(spec), *(overrides or [])])
    launch_here(
        spec, overrides or [], command=command, fresh=fresh, directory=directory, relative=relative or []
    )


COMMANDS: dict[str, Callable[..., None]] = {"train": train, "launch": launch}
