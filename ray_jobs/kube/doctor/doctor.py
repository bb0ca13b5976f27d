# SPDX-License-Identifier: Apache-2.0
"""Doctor: runs all checks of a cluster, and of what a run needs there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tadrib.ray_jobs.kube.api import KubernetesApi
from tadrib.ray_jobs.kube.doctor.checks import Check, fail, ok
from tadrib.ray_jobs.kube.doctor.cluster_checks import cluster_checks
from tadrib.ray_jobs.kube.doctor.run_checks import run_checks
from tadrib.ray_jobs.kube.release import objects_of, read_release
from tadrib.training.errors import TadribError

Object = dict[str, Any]

_ANY_RUN = "method: sft\nname: doctor\ndataset_path: s3://bucket/rows.jsonl\nstorage_path: s3://bucket/runs\n"
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}
_OPERATOR_NAMESPACE = "kuberay-system"


def examine(
    api: KubernetesApi, spec: Path | None, overrides: Sequence[str], values: Sequence[Path], queue: str | None
) -> list[Check]:
    """The results of all checks; without a spec, of those that apply to any run with these values.

    Raises Unreachable, or Forbidden if the cluster does not authenticate the user.
    """
    rendered, objects = _rendered(api, spec, overrides, values, queue)
    checks = list(cluster_checks(api, _let_in(objects)))
    checks.append(rendered)
    if objects:
        checks += run_checks(api, objects, with_capacity=spec is not None)
    return checks


def print_checks(checks: Sequence[Check]) -> None:
    """Print a line for every check, one with the action if it did not pass, and the number of those."""
    console = Console(highlight=False)
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark, style = _MARKS[check.verdict]
        console.print(
            Text.assemble((f"{mark} ", style), f"{check.name:<{width}}  {check.said}"), soft_wrap=True
        )
        if check.action and check.verdict != "ok":
            console.print(Text(f"  {'':<{width}}  {check.action}", style="dim"), soft_wrap=True)
    failed = sum(check.verdict == "fail" for check in checks)
    warned = sum(check.verdict == "warn" for check in checks)
    ending = f"{failed} of {len(checks)} checks failed" if failed else "no check failed"
    console.print(f"{ending}{f', {warned} with a warning' if warned else ''}", style="bold")


def _rendered(
    api: KubernetesApi, spec: Path | None, overrides: Sequence[str], values: Sequence[Path], queue: str | None
) -> tuple[Check, list[Object]]:
    """The run's rendered objects, which tell what it needs, and a check that they could be rendered."""
    what = (
        f"{spec} with {', '.join(map(str, values)) or 'default values'}"
        if spec
        else "any run with these values"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = spec
        if path is None:
            path = Path(folder) / "any.yaml"
            path.write_text(_ANY_RUN, encoding="utf-8")
        try:
            release = read_release(path, overrides, namespace=api.namespace, values=values, queue=queue)
            objects = objects_of(release.render())
        except TadribError as error:
            said = "; ".join(str(problem) for problem in error.problems) or error.title
            return fail("spec and values", f"{error.title}: {said}", "What a run needs was not checked."), []
    return ok("spec and values", f"{what}: accepted by the chart, and rendered by Helm"), objects


def _let_in(objects: list[Object]) -> str:
    """The namespace from which the run's network policy allows access to the dashboard."""
    return next(_peers(objects), _OPERATOR_NAMESPACE)


def _peers(objects: list[Object]) -> Iterator[str]:
    for policy in (each for each in objects if each["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("ingress") or []:
            ports = [port.get("port") for port in rule.get("ports") or []]
            for peer in rule.get("from") or []:
                labels = (peer.get("namespaceSelector") or {}).get("matchLabels") or {}
                if ports == [8265] and "kubernetes.io/metadata.name" in labels:
                    yield labels["kubernetes.io/metadata.name"]
