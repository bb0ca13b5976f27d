# SPDX-License-Identifier: Apache-2.0
"""Commands for runs on a cluster: launch, submit, status, logs, stop, list. Each imports what it needs."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadrib.ray_jobs.cli import kubernetes as cli_kubernetes
from tadrib.ray_jobs.cli.arguments import Fresh, Overrides, Spec
from tadrib.ray_jobs.cli.kubernetes import Context, Kubernetes, Namespace, Queue, Values, place

if TYPE_CHECKING:
    from tadrib.ray_jobs.cluster.jobs import JobServer

_API = "RAY_API_SERVER_ADDRESS"

Address = Annotated[
    str | None,
    typer.Option(help=f"Dashboard of the Ray cluster, such as http://head:8265. [env: {_API}]"),
]
Run = Annotated[str, typer.Argument(help="Run directory or URL, or the name of a run.", show_default=False)]


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
    from tadrib.ray_jobs.driver.joining import launch_here

    command = resume or shlex.join(["tadrib", "launch", str(spec), *(overrides or [])])
    launch_here(
        spec, overrides or [], command=command, fresh=fresh, directory=directory, relative=relative or []
    )


def submit(
    spec: Spec,
    overrides: Overrides = None,
    address: Address = None,
    fresh: Fresh = False,
    follow: Annotated[bool, typer.Option(help="Show the run's output and end as it ends.")] = True,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
    values: Values = None,
    queue: Queue = None,
) -> None:
    """Run a spec on a Ray cluster, or on Kubernetes. One that runs there already is followed, and not started again.

    On Kubernetes it is a Helm release named like the run; the same command again continues a run that ended.
    """
    if there := place(kubernetes, namespace, context, address):
        if fresh:
            raise typer.BadParameter(
                "--fresh needs the run directory, which is on the cluster; give a new name=…."
            )
        cli_kubernetes.submit_there(there, spec, overrides or [], values or [], queue, follow)
        return
    if values or queue:
        raise typer.BadParameter("--values and --queue are for --kubernetes.")
    from tadrib.ray_jobs.cluster.submit import submit_and_follow

    where = _required(address or os.environ.get(_API))
    resume = ["tadrib", "submit", str(spec), *(overrides or []), "--address", where]
    submit_and_follow(
        where, spec, overrides or [], resume=shlex.join(resume), fresh=fresh, is_followed=follow
    )


def status(
    run: Annotated[str | None, typer.Argument(help="Run directory, URL or name; none lists all.")] = None,
    address: Address = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Say how a run is doing. Exits with 0 when it runs or succeeded, 1 failed, 130 stopped, 2 no such run."""
    if there := place(kubernetes, namespace, context, address):
        if run is None:
            cli_kubernetes.list_there(there, as_json)
            return
        cli_kubernetes.status_there(there, run, as_json)
    from tadrib.ray_jobs.runs.status import read_status
    from tadrib.ray_jobs.runs.status_text import print_status, sentence

    where = _where(run, address)
    if run is None:
        from tadrib.ray_jobs.runs.lookup import runs_here

        if where:
            from tadrib.ray_jobs.cluster.runs import jobs_of_all_runs, print_jobs

            print_jobs(jobs_of_all_runs(_server(where)))
            return
        for each in runs_here():
            typer.echo(sentence(read_status(each)))
        return
    if where:
        from tadrib.ray_jobs.cluster.runs import cluster_status

        found = cluster_status(_server(where), run)
    else:
        from tadrib.ray_jobs.runs.lookup import find

        found = read_status(find(run))
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
    else:
        print_status(found)
    raise typer.Exit(found.exit_code)


def logs(
    run: Run,
    address: Address = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run ends.")] = False,
    worker: Annotated[int | None, typer.Option(help="Rank of a worker; without it, the driver.")] = None,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Show the log of a run's driver or of one of its workers."""
    from tadrib.ray_jobs.console import print_note

    if there := place(kubernetes, namespace, context, address):
        cli_kubernetes.logs_there(there, run, worker, follow)
        return
    if where := _where(run, address):
        from tadrib.ray_jobs.cluster.runs import cluster_logs

        cluster_logs(_server(where), run, worker, is_followed=follow, note=print_note)
        return
    from tadrib.ray_jobs.runs.local import print_log
    from tadrib.ray_jobs.runs.lookup import find

    print_log(find(run), worker, is_followed=follow, write=_print)


def stop(
    run: Run,
    address: Address = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the run to save and end.")] = 300,
    force: Annotated[
        bool,
        typer.Option("--force", help="On a cluster: have the job killed if it has not ended by then."),
    ] = False,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Have a run save a checkpoint and end; the command that started it continues it later.

    Exits as the run ended: 130 stopped, 0 when it had succeeded, 1 when it failed or goes on.
    """
    if there := place(kubernetes, namespace, context, address):
        cli_kubernetes.stop_there(there, run, timeout, force)
    from tadrib.ray_jobs.console import print_note
    from tadrib.ray_jobs.runs.status_text import print_status

    if where := _where(run, address):
        from tadrib.ray_jobs.cluster.runs import cluster_stop

        found = cluster_stop(_server(where), run, seconds=timeout, force=force, note=print_note)
    else:
        from tadrib.ray_jobs.runs.local import stop_run
        from tadrib.ray_jobs.runs.lookup import find

        found = stop_run(find(run), seconds=timeout, note=print_note)
    print_status(found)
    raise typer.Exit(found.exit_code if found.has_ended else 1)


def _where(run: str | None, address: str | None) -> str | None:
    """The cluster to ask: the one given, or that of the environment for a name that is no directory here."""
    if address is not None:
        return address
    if run is not None and ("/" in run or os.path.isdir(run) or (Path("runs") / run).is_dir()):
        return None
    return os.environ.get(_API)


def _required(address: str | None) -> str:
    if not address:
        raise typer.BadParameter(f"give --address http://head:8265, or set {_API}.")
    return address


def _server(address: str) -> JobServer:
    from tadrib.ray_jobs.cluster.jobs import JobServer

    return JobServer(address)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def list_runs(
    address: Address = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """List runs: those under ./runs, of a Ray cluster, or of a namespace on Kubernetes."""
    status(None, address, as_json, kubernetes, namespace, context)


COMMANDS: dict[str, Callable[..., None]] = {
    "launch": launch,
    "submit": submit,
    "status": status,
    "logs": logs,
    "stop": stop,
    "list": list_runs,
    **{command.__name__: command for command in cli_kubernetes.COMMANDS},
}
