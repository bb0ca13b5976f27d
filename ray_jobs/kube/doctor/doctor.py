# SPDX-License-Identifier: Apache-2.0
"""Doctor: every check of a cluster, and of what one run needs of it, before anything is submitted."""

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
    """All checks; without a spec, those that any run with these values needs.

    Raises Unreachable, and Forbidden where the cluster does not know the user.
    """
    rendered, objects = _rendered(api, spec, overrides, values, queue)
    checks = list(cluster_checks(api, _let_in(objects)))
    checks.append(rendered)
    if objects:
        checks += run_checks(api, objects, with_capacity=spec is not None)
    return checks


def print_checks(checks: Sequence[Check]) -> None:
    """One line a check, and one with what to do where it is not good; then how many are not."""
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
    console.print(f"{ending}{f', {warned} to look at' if warned else ''}", style="bold")


def _rendered(
    api: KubernetesApi, spec: Path | None, overrides: Sequence[str], values: Sequence[Path], queue: str | None
) -> tuple[Check, list[Object]]:
    """What the run would be, from which all that it needs is read; a check that fails where it is refused."""
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
            return fail("spec and values", f"{error.title}: {said}", "Nothing below it could be checked."), []
    return ok("spec and values", f"{what}: the chart takes them, and Helm renders it"), objects


def _let_in(objects: list[Object]) -> str:
    """The namespace that pods of the run let reach their dashboard."""
    return next(_peers(objects), _OPERATOR_NAMESPACE)


def _peers(objects: list[Object]) -> Iterator[str]:
    for policy in (each for each in objects if each["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("ingress") or []:
            ports = [port.get("port") for port in rule.get("ports") or []]
            for peer in rule.get("from") or []:
                labels = (peer.get("namespaceSelector") or {}).get("matchLabels") or {}
                if ports == [8265] and "kubernetes.io/metadata.name" in labels:
                    yield labels["kubernetes.io/metadata.name"]
