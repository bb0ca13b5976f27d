# SPDX-License-Identifier: Apache-2.0
"""A Ray that does not start on this machine: tried again once, and then told with Ray's own reason."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tadrib.ray_jobs.driver import local_ray
from tadrib.ray_jobs.driver.local_ray import newest_session, reason_in, start
from tadrib.training.errors import ClusterError

STARTS = """\
import sys
sys.path.insert(0, {root!r})
from ray._private import services
import ray
from tadrib.ray_jobs.driver.local_ray import start
services.RAYLET_EXECUTABLE = {raylet!r}
start()
print("started", ray.cluster_resources()["CPU"] > 0)
"""


def a_session(folder: Path, name: str, **logs: str) -> Path:
    made = folder / name / "logs"
    made.mkdir(parents=True)
    for file, text in logs.items():
        (made / file.replace("_dot_", ".")).write_text(text)
    return made


def test_the_reason_is_the_last_error_of_the_newest_session(tmp_path):
    old = a_session(tmp_path, "session_1", raylet_dot_out="[2026-11-27 07:18:47,693 E 1 1] (raylet) old\n")
    os.utime(old, (1, 1))
    began = time.time()
    logs = a_session(
        tmp_path,
        "session_2",
        raylet_dot_out="[2026-11-27 07:18:47,693 I 1 1] (raylet) main.cc:1: all is well\n"
        "[2026-11-27 07:18:48,000 E 1 1] (raylet) main.cc:2: first\n"
        "[2026-11-27 07:18:49,000 F 1 1] (raylet) main.cc:3: Check failed: no port\n"
        "[2026-11-27 07:18:49,001 I 1 1] (raylet) main.cc:4: bye\n",
        gcs_server_dot_out="[2026-11-27 07:18:48,000 E 1 1] (gcs_server) lost the raylet\n",
    )
    assert newest_session(tmp_path, began) == logs
    assert reason_in(logs) == (
        "[2026-11-27 07:18:49,000 F 1 1] (raylet) main.cc:3: Check failed: no port (raylet.out)"
    )
    assert newest_session(tmp_path, began + 3600) is None


def test_a_path_too_long_for_sockets_is_told_at_once(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with pytest.raises(
        ClusterError, match=r"AF_UNIX path length .* Set RAY_TMPDIR to a short path such as /tmp"
    ):
        start()


@pytest.mark.parametrize(
    ("error", "tries", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "Free some space in "),
        (PermissionError(errno.EACCES, "Permission denied"), 1, "Let this user write to "),
        (
            RuntimeError("Failed to start GCS"),
            2,
            "If Ray of an earlier run is still running, run `ray stop --force`",
        ),
    ],
)
def test_a_second_try_is_made_where_it_can_help(monkeypatch, error, tries, said):
    made = []

    def fail() -> None:
        made.append(1)
        raise error

    monkeypatch.setattr(local_ray, "_init", fail)
    with pytest.raises(ClusterError, match=said) as caught:
        start()
    assert (len(made), caught.value.exit_code) == (tries, 3)


@pytest.mark.faults
def test_a_raylet_that_dies_is_started_again(tmp_path):
    """Ray waits half a minute for the one that died."""
    from ray._private.services import RAYLET_EXECUTABLE

    count, raylet = tmp_path / "count", tmp_path / "raylet"
    raylet.write_text(
        f"#!/bin/sh\necho x >> {count}\n"
        f"if [ $(wc -l < {count}) -eq 1 ]; then exit 1; fi\n"
        f'exec {RAYLET_EXECUTABLE} "$@"\n'
    )
    raylet.chmod(raylet.stat().st_mode | stat.S_IXUSR)
    program = STARTS.format(root=str(Path(__file__).parents[2]), raylet=str(raylet))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1] == "started True", done.stdout + done.stderr
    assert len(count.read_text().splitlines()) == 2
