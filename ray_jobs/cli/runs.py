# SPDX-License-Identifier: Apache-2.0
"""Commands for runs, the same wherever they run: submit, status, list, logs, stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from tadrib.ray_jobs.cli.arguments import AsJson, Fresh, Overrides, Run, Spec
from tadrib.ray_jobs.cli.places import (
    Address,
    Context,
    Kubernetes,
    Namespace,
    Queue,
    Values,
    elsewhere,
    place,
)

if TYPE_CHECKING:
    from tadrib.ray_jobs.runs.interface import Runs, Submitted


def submit(
    spec: Spec,
    overrides: Overrides = None,
    address: Address = None,
    fresh: Fresh = False,
    follow: Annotated[bool, typer.Option(help="Show the run's output, and exit with its exit code.")] = True,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
    values: Values = None,
    queue: Queue = None,
) -> None:
    """Run a spec on a Ray cluster or on Kubernetes. A run that is already running there is followed, not started again.

    On Kubernetes, it becomes a Helm release with the name of the run. The same command continues a run that has ended.
    """
    runs = elsewhere(place(None, address, kubernetes, namespace, context, values, queue))
    submitted = runs.submit(spec, overrides or [], fresh=fresh)
    typer.echo(submitted.sentence)
    if follow:
        _follow(runs, submitted)
    else:
        typer.echo(f"  follow it with: tadrib logs {submitted.name} --follow {runs.options}")


def status(
    run: Annotated[str | None, typer.Argument(help="Run directory, URL or name (default: list all).")] = None,
    address: Address = None,
    as_json: AsJson = False,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Show the status of a run. Exits with 0 if it is running or succeeded, 1 failed, 130 stopped, 2 no such run."""
    if run is None:
        return list_runs(None, address, as_json, kubernetes, namespace, context)
    from tadrib.ray_jobs.runs.display import print_status

    found = place(run, address, kubernetes, namespace, context).status(run)
    typer.echo(json.dumps(found.to_mapping())) if as_json else print_status(found)
    raise typer.Exit(found.exit_code)


def list_runs(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run directories, URLs or names (default: all runs).")
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """List runs: those under ./runs, on a Ray cluster, or in a Kubernetes namespace."""
    from tadrib.ray_jobs.runs.display import print_list

    there = place(runs[0] if runs else None, address, kubernetes, namespace, context)
    found = [there.status(run) for run in runs] if runs else there.list()
    if as_json:
        typer.echo(json.dumps([each.to_mapping() for each in found]))
    elif found:
        print_list(found)
    else:
        typer.echo(f"there are no runs {there.where}")


def logs(
    run: Run,
    address: Address = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Continue until the run ends, and exit with its exit code.")
    ] = False,
    worker: Annotated[int | None, typer.Option(help="Rank of a worker (default: the driver).")] = None,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Show the log of a run's driver or of one of its workers."""
    from tadrib.ray_jobs.runs.status import raise_unless_succeeded

    ended = place(run, address, kubernetes, namespace, context).logs(run, worker, follow=follow)
    if ended is not None:
        raise_unless_succeeded(ended)


def stop(
    run: Run,
    address: Address = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the run to save and end.")] = 300,
    force: Annotated[
        bool,
        typer.Option("--force", help="On a cluster: kill the job if it has not ended by then."),
    ] = False,
    kubernetes: Kubernetes = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Stop a run after it has saved a checkpoint; the command that started it continues it later.

    Exits with 130 if the run stopped, 0 if it had succeeded, 1 if it failed or is still running.
    """
    from tadrib.ray_jobs.runs.display import print_status

    found = place(run, address, kubernetes, namespace, context).stop(run, seconds=timeout, force=force)
    print_status(found)
    raise typer.Exit(found.exit_code if found.has_ended else 1)


def _follow(runs: Runs, submitted: Submitted) -> None:
    """Show the run's output, and exit with its exit code; Ctrl-C ends only the following."""
    from tadrib.ray_jobs.runs.status import raise_unless_succeeded
    from tadrib.training.errors import StoppedError

    name, title = submitted.name, submitted.title
    try:
        ended = runs.logs(name, follow=True)
    except KeyboardInterrupt:
        again = f"tadrib logs {name} --follow {runs.options}"
        end = f"tadrib stop {name} {runs.options}"
        text = (
            f"no longer following {title}, which is still running\n  follow again: {again}\n  stop it: {end}"
        )
        raise StoppedError(text) from None
    if ended is not None:
        raise_unless_succeeded(ended)
        typer.echo(ended.sentence)


COMMANDS: dict[str, Callable[..., None]] = {
    "submit": submit,
    "status": status,
    "list": list_runs,
    "logs": logs,
    "stop": stop,
}
