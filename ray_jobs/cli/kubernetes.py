# SPDX-License-Identifier: Apache-2.0
"""Commands for Kubernetes alone: render and doctor."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tadrib.ray_jobs.cli.arguments import AsJson, Overrides, Spec
from tadrib.ray_jobs.cli.places import Context, Namespace, Queue, Values


def render(
    spec: Spec,
    overrides: Overrides = None,
    values: Values = None,
    queue: Queue = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace to render for.")] = "default",
) -> None:
    """Print the manifests that would be applied to Kubernetes, without a cluster.

    Specs and values that training, the chart or KubeRay would refuse are refused here.
    """
    from tadrib.ray_jobs.kube.release import read_release

    release = read_release(spec, overrides or [], namespace=namespace, values=values or [], queue=queue)
    sys.stdout.write(release.render())


def doctor(
    spec: Annotated[
        Path | None, typer.Argument(help="Spec to check the cluster for.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    values: Values = None,
    queue: Queue = None,
    namespace: Namespace = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """Check a Kubernetes cluster, and what a spec needs there, before anything is submitted.

    Exits with 0 if no check fails, 1 if one does, 3 if the cluster cannot be reached.
    """
    from tadrib.ray_jobs.kube.api import KubernetesApi
    from tadrib.ray_jobs.kube.doctor.doctor import examine, print_checks

    checks = examine(KubernetesApi(namespace, context), spec, overrides or [], values or [], queue)
    if as_json:
        typer.echo(json.dumps([check.to_json() for check in checks]))
    else:
        print_checks(checks)
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {"render": render, "doctor": doctor}
