# SPDX-License-Identifier: Apache-2.0
"""Commands for runs on Kubernetes: render, doctor, and what submit, status, logs, stop and list do there."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadrib.ray_jobs.cli.arguments import Overrides, Spec

if TYPE_CHECKING:
    from tadrib.ray_jobs.kube.api import KubernetesApi

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


@dataclass(frozen=True, slots=True)
class Place:
    """The Kubernetes cluster that a command was told to go to."""

    namespace: str | None
    context: str | None

    def api(self) -> KubernetesApi:
        from tadrib.ray_jobs.kube.api import KubernetesApi

        return KubernetesApi(self.namespace, self.context)

    def options(self, api: KubernetesApi) -> str:
        """Options by which a further command finds the same place."""
        context = ["--context", self.context] if self.context else []
        return shlex.join(["--kubernetes", "--namespace", api.namespace, *context])


def place(kubernetes: bool, namespace: str | None, context: str | None, address: str | None) -> Place | None:
    """Where to go, None where that is no Kubernetes cluster."""
    if not (kubernetes or namespace or context):
        return None
    if address is not None:
        raise typer.BadParameter(
            "--address is a Ray cluster, and --kubernetes another place; give one of them."
        )
    return Place(namespace, context)


def render(
    spec: Spec,
    overrides: Overrides = None,
    values: Values = None,
    queue: Queue = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace to render for.")] = "default",
) -> None:
    """Print what would be applied to Kubernetes. Asks no cluster.

    Refused are specs, values and what KubeRay would take and leave at ValidationFailed.
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a Kubernetes cluster, and what a spec needs of it, before anything is submitted.

    Exits with 0 unless a check fails, and 3 when the cluster cannot be reached.
    """
    from tadrib.ray_jobs.kube.doctor.doctor import examine, print_checks

    api = Place(namespace, context).api()
    checks = examine(api, spec, overrides or [], values or [], queue)
    if as_json:
        typer.echo(json.dumps([check.to_json() for check in checks]))
    else:
        print_checks(checks)
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)


def submit_there(
    where: Place,
    spec: Path,
    overrides: Sequence[str],
    values: Sequence[Path],
    queue: str | None,
    follow: bool,
) -> None:
    from tadrib.ray_jobs.kube.release import read_release
    from tadrib.ray_jobs.kube.submitting import submit_and_follow

    read_release(spec, overrides, namespace="default", values=values, queue=queue)
    api = where.api()
    release = read_release(
        spec, overrides, namespace=api.namespace, context=where.context, values=values, queue=queue
    )
    submit_and_follow(api, release, is_followed=follow, options=where.options(api))


def status_there(where: Place, run: str, as_json: bool) -> None:
    from datetime import UTC, datetime

    from tadrib.ray_jobs.kube.display import print_status
    from tadrib.ray_jobs.kube.head import ask
    from tadrib.ray_jobs.kube.status.explain import explain
    from tadrib.ray_jobs.kube.status.objects import find_job, read_objects

    api = where.api()
    found = read_objects(api, find_job(api, run))
    told = explain(found, datetime.now(UTC), ask(api, found))
    if as_json:
        typer.echo(json.dumps(told.to_json()))
    else:
        print_status(told)
    raise typer.Exit(told.exit_code)


def list_there(where: Place, as_json: bool) -> None:
    from datetime import UTC, datetime

    from tadrib.ray_jobs.kube.display import print_list
    from tadrib.ray_jobs.kube.status.explain import explain
    from tadrib.ray_jobs.kube.status.objects import list_jobs, read_all_objects, run_of

    api = where.api()
    newest = {run_of(job): job for job in reversed(list_jobs(api))}
    found = read_all_objects(api, list(reversed(newest.values())))
    statuses = [explain(each, datetime.now(UTC)) for each in found]
    if as_json:
        typer.echo(json.dumps([each.to_json() for each in statuses]))
    elif statuses:
        print_list(statuses)
    else:
        typer.echo(f"there are no runs in namespace {api.namespace}")


def logs_there(where: Place, run: str, worker: int | None, follow: bool) -> None:
    from tadrib.ray_jobs.console import print_note
    from tadrib.ray_jobs.kube.following import conclude
    from tadrib.ray_jobs.kube.following import follow as follow_run
    from tadrib.ray_jobs.kube.logs import print_log
    from tadrib.ray_jobs.kube.status.objects import find_job, read_objects

    api = where.api()
    job = find_job(api, run)
    if follow and worker is None:
        conclude(follow_run(api, job, _write, print_note))
        return
    if follow:
        raise typer.BadParameter("the log of a worker on Kubernetes is shown as it is; leave --follow out.")
    print_log(api, read_objects(api, job), worker, _write)


def stop_there(where: Place, run: str, timeout: float, force: bool) -> None:
    from tadrib.ray_jobs.console import print_note
    from tadrib.ray_jobs.kube.control import stop_run
    from tadrib.ray_jobs.kube.display import print_status

    told = stop_run(where.api(), run, seconds=timeout, force=force, note=print_note)
    print_status(told)
    raise typer.Exit(told.exit_code if told.has_ended else 1)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


COMMANDS = (render, doctor)
