# SPDX-License-Identifier: Apache-2.0
"""What a run has to survive on a cluster: the loss of a worker's pod, and a change of its release."""

from __future__ import annotations

import re

import pytest

from tests.kind.programs import wait
from tests.kind.settings import STEPS

pytestmark = pytest.mark.cluster


def assert_continued(run, saved):
    """It went on, from the checkpoint of step ``saved`` or a later one, and each step is logged once."""
    after = [int(step) for step in re.findall(r"continuing after step (\d+)", run.log())]
    assert after, run.log()
    assert min(after) >= saved
    assert run.steps() == list(range(1, STEPS + 1))


def test_a_killed_worker_pod_is_replaced_and_the_run_goes_on_from_its_checkpoint(cluster, long_run):
    run = long_run("kill", workers=2)
    saved = run.wait_for_a_checkpoint()
    before, cluster_before = run.workers(), run.job()["status"]["rayClusterName"]
    victim = min(before)
    cluster.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
    wait("a pod in place of the one that was killed", lambda: len(run.workers() - before) == 1)

    result = run.wait_until_succeeded()
    assert result["steps_done"] == STEPS
    assert result["num_workers"] == 2
    assert_continued(run, saved)
    assert "workers restart" in run.log()
    assert run.job()["status"]["rayClusterName"] == cluster_before, "Ray Train recovers, and not KubeRay"
    run.uninstall()


def test_an_upgrade_in_the_middle_makes_a_new_job_that_continues_the_run(long_run):
    run = long_run("upgrade")
    saved = run.wait_for_a_checkpoint()
    first = run.job()["metadata"]["name"]
    run.upgrade()
    assert {job["metadata"]["name"] for job in run.jobs()} - {first}

    result = run.wait_until_succeeded()
    assert run.job()["metadata"]["name"] != first
    assert result["steps_done"] == STEPS
    assert_continued(run, saved)
    run.uninstall()
