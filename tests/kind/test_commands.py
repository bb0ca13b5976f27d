# SPDX-License-Identifier: Apache-2.0
"""The command line on a cluster, as a user types it: doctor, submit, status, list, logs, stop, submit again."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.charts.helm import write_values
from tests.kind.programs import wait
from tests.kind.settings import STEPS, long_spec, platform

pytestmark = pytest.mark.cluster


@pytest.fixture
def files(cluster, tmp_path):
    """Writes a run's spec and its platform, with changes; gives both as a command line has them."""

    def write(run, **changes):
        spec = tmp_path / f"{run.name}.yaml"
        spec.write_text(yaml.safe_dump(long_spec(run.name)))
        values = {"platform": platform(cluster.operator_namespace) | changes}
        return str(spec), "--values", str(write_values(values, tmp_path)), *run.here

    return write


def test_a_run_is_submitted_watched_stopped_and_submitted_again(cluster, a_run, files, tmp_path):
    run = a_run("submit")
    given = files(run)
    assert "no check failed" in cluster.tadrib("doctor", *given)

    with cluster.start(tmp_path / "first.out", "submit", *given) as submitted:
        run.wait_for_a_checkpoint()
        assert f"{run.name} is running: step " in cluster.tadrib("status", run.name, *run.here)
        listed = json.loads(cluster.tadrib("list", "--json", *run.here).splitlines()[0])
        assert [each["state"] for each in listed if each["name"] == run.name] == ["running"]
        assert f"{run.name}: sft of" in cluster.tadrib("logs", run.name, *run.here)
        assert f"{run.name} was stopped" in cluster.tadrib("stop", run.name, *run.here, code=130)
        assert submitted.end() == 130, submitted.printed
    stopped = run.result()
    assert stopped["status"] == "stopped"
    assert run.checkpoints()[-1] == stopped["steps_done"] < STEPS
    cluster.tadrib("status", run.name, *run.here, code=130)

    printed = cluster.tadrib("submit", *given)
    assert f"continuing after step {stopped['steps_done']}" in printed
    assert f"{run.name} succeeded" in printed
    assert (run.result()["status"], run.result()["steps_done"]) == ("succeeded", STEPS)
    assert run.steps() == list(range(1, STEPS + 1))
    cluster.tadrib("status", run.name, *run.here)
    run.uninstall()
    cluster.tadrib("status", run.name, *run.here, code=2)


def test_an_image_that_cannot_be_pulled_is_named_as_the_cause(cluster, a_run, files):
    run = a_run("image")
    image = {"repository": "registry.invalid/tadrib", "tag": "none", "pullPolicy": "Always"}
    cluster.tadrib("submit", *files(run, image=image), "--no-follow")

    def told():
        return re.search(
            r"pending.*: the image registry\.invalid/tadrib:none (cannot be pulled|does not exist)",
            cluster.tadrib("status", run.name, *run.here),
        )

    assert wait("sentence on the image", told, 300)
    run.uninstall()
