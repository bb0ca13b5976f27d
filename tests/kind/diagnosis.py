# SPDX-License-Identifier: Apache-2.0
"""Diagnosis: what a cluster shows of this session's runs, for whoever has nothing but the output of a failed test."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from tests.kind.programs import Cluster
from tests.kind.settings import FOLDER, OWN
from tests.kind.volume import POD

_LINES = 40
_STATUS = r'jsonpath={range .items[*]}{.metadata.name}{": "}{.status}{"\n"}{end}'
_NAMES = r'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}'
_DRIVER_LOG = "tail -n 40 /tmp/ray/session_latest/logs/job-driver-*.log"
"""On the head: what a driver printed before it had a run directory, too."""


def diagnose(cluster: Cluster) -> str:
    """RayJobs, pods, events and logs. What cannot be had stands there as an error."""
    return "\n".join(f"--- {title}\n{text.rstrip()}" for title, text in _sections(cluster) if text.strip())


def _sections(cluster: Cluster) -> Iterator[tuple[str, str]]:
    def ask(*words: str) -> str:
        try:
            return cluster.kubectl("--request-timeout=30s", *words, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)

    yield "pods", ask("get", "rayjobs,rayclusters,pods", "--output", "wide")
    yield "RayJobs", ask("get", "rayjobs", "--output", _STATUS)
    events = ask("get", "events", "--sort-by", ".metadata.creationTimestamp").splitlines()
    own = [line for line in events if f"/{OWN}-" in line]
    yield "events", "\n".join(own[-_LINES:])
    for pod in re.findall(rf"^{OWN}-\S+$", ask("get", "pods", "--output", _NAMES), re.MULTILINE):
        yield f"log of {pod}", ask("logs", pod, "--all-containers", "--prefix", f"--tail={_LINES}")
        if "-head" in pod:
            yield f"drivers on {pod}", ask("exec", pod, "--", "sh", "-c", _DRIVER_LOG)
    logs = f"tail -n {_LINES} {FOLDER}/runs/*/logs/driver.log"
    yield "drivers, from the run directories", ask("exec", POD, "--", "sh", "-c", logs)
    operator = ("--selector", "app.kubernetes.io/component=kuberay-operator", f"--tail={_LINES}")
    yield "operator", ask("logs", "--namespace", cluster.operator_namespace, *operator)
