# SPDX-License-Identifier: Apache-2.0
"""The image, run as its pods run it. `make test-image` builds it first."""

from __future__ import annotations

import json
import re

import pytest

from tests.image.container import IMAGE, Container, docker, run

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def config():
    [found] = json.loads(docker("image", "inspect", IMAGE))
    return found["Config"]


def test_the_smoke_check_passes(config):
    device = config["Labels"]["tadrib.device"]
    printed = run("python", "/opt/tadrib/share/tadrib/smoke.py", "--device", device)
    assert "UNFIT" not in printed
    assert printed.count("ok    ") == 8, printed


@pytest.mark.parametrize("user", ["1000:1000", "1000680000:0"])
def test_any_user_but_root_will_do(user):
    printed = run("python", "/opt/tadrib/share/tadrib/smoke.py", "--quick", options=(f"--user={user}",))
    assert "ok    " in printed
    assert "UNFIT" not in printed


def test_the_smoke_check_refuses_root():
    printed = run(
        "python", "/opt/tadrib/share/tadrib/smoke.py", "--quick", options=("--user=0:0",), check=False
    )
    assert "UNFIT user: the user is root" in printed


def test_without_options_it_prints_the_help_of_the_command_line():
    assert "tadrib" in docker("run", "--rm", IMAGE)


def test_it_says_what_it_is(config):
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "tadrib"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", labels["org.opencontainers.image.base.digest"])
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", labels["org.opencontainers.image.revision"])
    assert (
        run("python", "-c", "import importlib.metadata as m; print(m.version('tadrib'))").strip()
        == labels["org.opencontainers.image.version"]
    )


def test_no_setting_of_the_build_is_in_it(config):
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE)
    assert not re.search(r"(?i)index_url=|https?://|password|token", history + " ".join(config["Env"]))
    assert run("sh", "-c", "ls /run/secrets /etc/pip.conf /root/.cache 2>/dev/null | wc -l").strip() == "0"


def test_no_compiler_no_installer_and_no_tool_of_development_is_in_it():
    tools = "cc gcc g++ c++ clang nvcc pip uv ruff mypy pytest git curl wget"
    found = run("sh", "-c", f"for tool in {tools}; do command -v $tool; done; true")
    assert [line for line in found.split() if line.startswith("/opt/tadrib")] == []
    for module in ("pytest", "mypy", "hypothesis", "tests", "benchmarks", "charts"):
        assert "ModuleNotFoundError" in run("python", "-c", f"import {module}", check=False)


def test_a_login_shell_finds_the_programs():
    for shell in (("bash", "-lc"), ("bash", "-c")):
        assert run(*shell, "command -v tadrib ray python").split() == [
            f"/opt/tadrib/bin/{program}" for program in ("tadrib", "ray", "python")
        ]


def test_a_node_started_as_kuberay_starts_it_is_healthy_and_ends_on_sigterm():
    """KubeRay 1.7 replaces the entry point by this one, and asks the agent's port for /api/healthz."""
    start = "ulimit -n 65536; ray start --head --block --dashboard-host=0.0.0.0 --num-cpus=0 --metrics-export-port=8080"
    options = (
        "--entrypoint=/bin/bash",
        "--env=RAY_AUTH_MODE=disabled",
        "--env=RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=20",
    )
    ask = "import urllib.request as u; print(u.urlopen('http://localhost:{}/{}', timeout=5).read().decode())"
    with Container("-c", "--", start, options=options) as node:
        node.wait(
            "health",
            lambda: "success" in node.do("python", "-c", ask.format(52365, "api/healthz"), check=False),
        )
        assert "success" in node.do("python", "-c", ask.format(8265, "api/gcs_healthz"))
        node.do("ray", "health-check")
        assert node.do("cat", "/proc/1/cmdline").split("\0")[0].endswith("python")  # bash has made way
        node.stop(grace=60)
        assert node.state()["ExitCode"] != 137, node.logs()
        assert not node.state()["OOMKilled"]
