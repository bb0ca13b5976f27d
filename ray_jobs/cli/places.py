# SPDX-License-Identifier: Apache-2.0
"""Places: which runs a command is about, on this machine or on a cluster, and the options that select them."""

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
    str | None, typer.Option("--namespace", "-n", help="Namespace (default: the context's); implies -k.")
]
Context = Annotated[
    str | None, typer.Option(help="Context of the kubeconfig (default: its current one); implies -k.")
]
Values = Annotated[
    list[Path] | None, typer.Option(help="Values file with the settings under `platform:`; may be repeated.")
]
Queue = Annotated[
    str | None, typer.Option(help="Queue; Kueue's unless the values name another kind.", show_default=False)
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
    """The place that the options select; without any, this machine if ``run`` is a directory here, else the Ray cluster
    of the environment, else this machine."""
    if kubernetes or namespace or context:
        if address is not None:
            raise typer.BadParameter("give --address or --kubernetes, not both.")
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
    """``runs``, unless they are those of this machine: nothing is submitted to it."""
    from tadrib.ray_jobs.local.runs import LocalRuns

    if isinstance(runs, LocalRuns):
        message = (
            f"give --address http://head:8265 or --kubernetes, or set {_API}; `tadrib train` trains here."
        )
        raise typer.BadParameter(message)
    return runs
