# SPDX-License-Identifier: Apache-2.0
"""A cluster as its users reach it: by kubectl, Helm and tadrib, each a program, all with one kubeconfig."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tadrib.ray_jobs.kube.helm import find_helm
from tests.charts.helm import ROOT
from tests.kind.settings import NAMESPACE
from tests.kubectl import find_kubectl

Object = dict[str, Any]
Found = TypeVar("Found")

SECONDS = 900
"""For anything awaited: a small machine is slow, and images may have to be pulled."""


class Cluster:
    """The cluster that a kubeconfig's current context names; everything is said of the suite's namespace."""

    def __init__(self, kubeconfig: Path, operator_namespace: str = "kuberay-system") -> None:
        paths = {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        self.environment = {**os.environ, **paths}
        self.operator_namespace = operator_namespace

    def kubectl(self, *words: str, check: bool = True, given: str | None = None) -> str:
        """What kubectl prints; where it fails and may, its errors too. ``given`` is its standard input."""
        program = find_kubectl()
        assert program, "no kubectl"
        return self._run([program, "--namespace", NAMESPACE, *words], check, given)

    def helm(self, *words: str, check: bool = True) -> str:
        return self._run([find_helm(), *words, "--namespace", NAMESPACE], check)

    def tadrib(self, *words: str, code: int = 0) -> str:
        """What `tadrib` prints, which has to end with exit code ``code``."""
        done = subprocess.run(
            _tadrib(*words), env=self.environment, capture_output=True, text=True, timeout=SECONDS
        )
        printed = f"{done.stdout}{done.stderr}"
        assert done.returncode == code, f"tadrib {' '.join(words)}: exit code {done.returncode}\n{printed}"
        return printed

    def start(self, output: Path, *words: str) -> Command:
        """`tadrib` in the background."""
        return Command(_tadrib(*words), output, self.environment)

    @contextlib.contextmanager
    def keep(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """kubectl in the background, for as long as the ``with`` block takes."""
        command = [find_kubectl() or "kubectl", "--namespace", NAMESPACE, *words]
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def objects(self, kinds: str, *options: str) -> list[Object]:
        return json.loads(self.kubectl("get", kinds, "--output", "json", *options))["items"]

    def apply(self, objects: list[Object]) -> None:
        """By the server, as the annotation of a client would hold what is larger than annotations may be."""
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "--server-side", "--filename", "-", given=json.dumps(listed))

    def _run(self, command: list[str], check: bool, given: str | None = None) -> str:
        done = subprocess.run(
            command,
            env=self.environment,
            input=given or "",
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        printed = done.stdout if done.returncode == 0 else f"{done.stdout}{done.stderr}"
        assert not check or done.returncode == 0, f"{' '.join(command)}: {printed}"
        return printed


class Command:
    """`tadrib` in the background; ends with the ``with`` block at the latest."""

    def __init__(self, command: list[str], output: Path, environment: dict[str, str]) -> None:
        self._output = output
        with output.open("w") as file:
            self._process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def printed(self) -> str:
        return self._output.read_text()

    def end(self) -> int:
        """Wait for its end; returns the exit code."""
        return self._process.wait(timeout=SECONDS)


def wait(what: str | Callable[[], str], look: Callable[[], Found], seconds: float = SECONDS) -> Found:
    """What ``look`` finds, once it finds something; ``what`` says, at the end, what was missing."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s, still no {what() if callable(what) else what}")
        time.sleep(2)
    return found


def _tadrib(*words: str) -> list[str]:
    return [sys.executable, "-m", "tadrib", *words]
