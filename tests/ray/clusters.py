# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster of several nodes on this machine, started by `ray start` as an admin does it, with token auth."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
_SECONDS_TO_START = 120
_SECONDS_OF_A_COMMAND = 300
_RAY_VARIABLES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class RayCluster:
    """A head without CPUs, so that no worker of a run lands there, and whatever nodes are added.

    Ports are free ones and files go into a directory of its own, so that several clusters can stand side by
    side. ``token_file`` holds the token, which is also in ``environment``.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tadrib-ray-", dir="/tmp"))  # socket paths must be short
        self.token_file = self.folder / "token"
        self.token_file.write_text(secrets.token_hex(32))
        self._processes: list[subprocess.Popen] = []
        gcs, dashboard = free_port(), free_port()
        self.gcs_address = f"{own_address()}:{gcs}"
        self.url = f"http://127.0.0.1:{dashboard}"

    def start(self) -> None:
        """Start the head and wait until it answers."""
        head = ["--head", f"--port={self.gcs_address.rpartition(':')[2]}", f"--temp-dir={self.folder}"]
        head += ["--num-cpus=0", "--num-gpus=0", f"--ray-client-server-port={free_port()}"]
        head += [f"--dashboard-port={self.url.rpartition(':')[2]}"]
        self._start(head)
        self._wait_for(lambda: self._alive_nodes() == 1)

    @property
    def environment(self) -> dict[str, str]:
        """For commands run by a user of the cluster, and for its nodes."""
        usual = {key: value for key, value in os.environ.items() if key not in _RAY_VARIABLES}
        return usual | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
        }

    def tadrib(self, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user of the cluster does; a variable set to nothing is taken away."""
        environment = {key: value for key, value in (self.environment | variables).items() if value}
        return subprocess.run(
            [str(BIN / "tadrib"), *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS_OF_A_COMMAND,
        )

    def add_node(self, cpus: int = 1, prefix: tuple[str, ...] = (), **variables: str) -> subprocess.Popen:
        """Start a node and wait until the cluster has it. ``prefix`` goes before `ray start`."""
        before = self._alive_nodes()
        node = ["--num-gpus=0", f"--address={self.gcs_address}", f"--num-cpus={cpus}"]
        process = self._start(node, prefix, variables)
        self._wait_for(lambda: process.poll() is not None or self._alive_nodes() == before + 1)
        if process.poll() is not None:  # Ray gives a head 30 s to answer, which may not do on a busy machine
            self._processes.remove(process)
            process = self._start(node, prefix, variables)
            self._wait_for(lambda: self._alive_nodes() == before + 1)
        return process

    def remove_node(self, process: subprocess.Popen) -> None:
        before = self._alive_nodes()
        end(process)
        self._processes.remove(process)
        self._wait_for(lambda: self._alive_nodes() == before - 1)

    def forget(self, process: subprocess.Popen) -> None:
        """Wait until a node that was ended by other means is gone, and the cluster knows it."""
        process.wait(timeout=_SECONDS_TO_START)
        self._processes.remove(process)
        self._wait_for(lambda: self._alive_nodes() == len(self._processes))

    @property
    def pids(self) -> list[int]:
        """Of the head and the nodes, each the parent of all else that it runs."""
        return [process.pid for process in self._processes]

    def stop(self) -> None:
        """End every process of the cluster; nothing of it can be asked any more."""
        for process in reversed(self._processes):
            end(process)
        self._processes.clear()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(
        self, arguments: list[str], prefix: tuple[str, ...] = (), variables: dict[str, str] | None = None
    ) -> subprocess.Popen:
        ports = ["--min-worker-port=0", "--max-worker-port=0"]
        ports += [f"--dashboard-agent-listen-port={free_port()}"]
        command = [*prefix, str(BIN / "ray"), "start", "--block", *arguments, *ports]
        with (self.folder / f"node-{len(self._processes)}.log").open("w") as log:
            process = subprocess.Popen(
                [*command, f"--object-store-memory={80 * 1024**2}"],
                env=self.environment | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"} | (variables or {}),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _alive_nodes(self) -> int:
        request = urllib.request.Request(
            f"{self.url}/nodes?view=summary",
            headers={"Authorization": f"Bearer {self.token_file.read_text()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return 0
        return text.count('"state": "ALIVE"')

    def _wait_for(self, condition) -> None:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not condition():
            assert time.monotonic() < deadline, self._logs()
            assert all(process.poll() is None for process in self._processes), self._logs()
            time.sleep(0.3)

    def _logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("node-*.log")))


def end(process: subprocess.Popen) -> None:
    """Ask a node to end, and make sure that none of its processes is left."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def own_address() -> str:
    """The address that Ray takes for this machine's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
