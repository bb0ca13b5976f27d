# SPDX-License-Identifier: Apache-2.0
"""Places: where the runs are that a command is about, and the options that say so."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tadrib.ray_jobs.runs.interface import Runs

_API = "RAY_API_SERVER_ADDRESS"

Address = Annotated[
    str | None,
    typer.Option(help=f"Dashboard of the Ray cluster, such as http://head:8265. [env: {_API}]"),
]
Kubernetes = Annotated[
    bool,
    typer.Option("--kubernetes", "-k", help="On the Kubernetes cluster of $KUBECONFIG, through KubeRay."),
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace there, else the context's; implies -k.")
]
Context = Annotated[
    str | None, typer.Option(help="Context of the kubeconfig, else its current one; implies -k.")
]
Values = Annotated[
    list[Path] | None, typer.Option(help="Values file with `platform:`, the cluster's side; may be repeated.")
]
Queue = Annotated[
    str | None, typer.Option(help="Queue, of Kueue unless the values say another kind.", show_default=False)
]


def place(
    run: str | None,
    address: str | None,
    kubernetes: bool,
    namespace: str | None,
    context: str | None,
    values: Sequence[Path] | None = None,
    queue: str | None = None,
) -> Runs:
    """The place that the options name; without any, that of a ``run`` which is a directory here, or that of the
    environment."""
    if kubernetes or namespace or context:
        if address is not None:
            message = "--address is a Ray cluster, and --kubernetes another place; give one of them."
            raise typer.BadParameter(message)
        from tadrib.ray_jobs.kube.runs import KubernetesRuns

        return KubernetesRuns(namespace, context, values or [], queue)
    if values or queue:
        raise typer.BadParameter("--values and --queue are for --kubernetes.")
    from tadrib.ray_jobs.runs.lookup import is_here

    address = address or (None if run is not None and is_here(run) else os.environ.get(_API))
    if address:
        from tadrib.ray_jobs.cluster.runs import ClusterRuns

        return ClusterRuns(address)
    from tadrib.ray_jobs.local.runs import LocalRuns

    return LocalRuns()


def elsewhere(runs: Runs) -> Runs:
    """A place to submit to, which is not this machine."""
    from tadrib.ray_jobs.local.runs import LocalRuns

    if isinstance(runs, LocalRuns):
        message = (
            f"give --address http://head:8265, or set {_API}, or --kubernetes; `tadrib train` trains here."
        )
        raise typer.BadParameter(message)
    return runs
