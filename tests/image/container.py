# SPDX-License-Identifier: Apache-2.0
"""Containers of the image under the rules that its pods have: no root, nothing writable but what is declared, no
network, no capability."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCKER = os.environ.get("DOCKER", "docker")
IMAGE = os.environ.get("IMAGE", "tadrib:dev")
EXAMPLES = Path(__file__).parents[2] / "examples"
HARDENED = (
    *("--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
    *("--tmpfs=/tmp:mode=1777,size=4g", "--shm-size=2g"),
)
_SECONDS = 600
"""For anything awaited; a busy machine is slow, a hung container is caught."""


def docker(*words: str, check: bool = True) -> str:
    """Run a command of docker; returns all that it printed."""
    found = subprocess.run(
        [DOCKER, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_SECONDS
    )
    assert not check or found.returncode == 0, found.stdout
    return found.stdout


def run(*command: str, options: tuple[str, ...] = (), check: bool = True) -> str:
    """Run ``command`` in a container of its own; returns all that it printed."""
    return docker("run", "--rm", *HARDENED, *options, IMAGE, *command, check=check)


class Container:
    """A container in the background, which goes away with the ``with`` block."""

    def __init__(self, *command: str, options: tuple[str, ...] = ()) -> None:
        self.name = f"tadrib-test-{uuid.uuid4().hex[:12]}"
        docker("run", "--detach", "--name", self.name, *HARDENED, *options, IMAGE, *command)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)

    def do(self, *command: str, check: bool = True) -> str:
        return docker("exec", self.name, *command, check=check)

    def logs(self) -> str:
        return docker("logs", self.name)

    def state(self) -> dict[str, Any]:
        return json.loads(docker("inspect", "--format", "{{json .State}}", self.name))

    def wait(self, what: str, happened: Callable[[], bool]) -> None:
        """Wait until ``happened``; the container may not end before that."""
        deadline = time.monotonic() + _SECONDS
        while not happened():
            assert self.state()["Running"], f"ended before {what}:\n{self.logs()}"
            assert time.monotonic() < deadline, f"{what} did not happen:\n{self.logs()}"
            time.sleep(1)

    def stop(self, grace: int = 120) -> int:
        """SIGTERM, as Kubernetes sends it, and SIGKILL after ``grace`` seconds; returns the exit code."""
        docker("stop", "--time", str(grace), self.name)
        return self.state()["ExitCode"]

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        return int(docker("wait", self.name))
