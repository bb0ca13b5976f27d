# SPDX-License-Identifier: Apache-2.0
"""Following a run on Kubernetes, over queue, retries, replacement and lost connections, to its end."""

from __future__ import annotations

import json

import pytest

from tadrib.ray_jobs.kube.api import KubernetesApi
from tadrib.ray_jobs.kube.following import follow_rayjob
from tadrib.ray_jobs.runs.status import raise_unless_succeeded
from tadrib.training.errors import ClusterError, SpecError, StoppedError, TrainingError
from tests.kubernetes.heads import JOBS
from tests.kubernetes.recorded import NAME, all_ready, rayjob


class Story:
    """A run that goes on by one state each time that its RayJob is read."""

    def __init__(self, cluster, *states, progress=None, log=b""):
        self._cluster, self._states = cluster, list(states)
        self._progress, self._log = progress, log
        self.length = 0
        cluster.on_request = self
        cluster.command = self.command

    def __call__(self, method, path):
        if method == "GET" and path == f"{JOBS}/{NAME}" and self._states:
            status, things = self._states.pop(0)
            self._cluster.objects = {}
            if status is not None:
                self._cluster.add(rayjob(status.pop("state", ""), **status), *things)
            self.length += 20

    def command(self, pod, command):
        if command[0] == "tail":
            return 0, self._log[int(command[2]) - 1 : self.length], ""
        return 0, json.dumps(self._progress).encode() if self._progress else b"", ""


RUNS = {"jobStatus": "RUNNING", "jobId": "one"}
PODS = all_ready()


def followed(cluster, *states, **more):
    story = Story(cluster, *states, **more)
    cluster.add(rayjob())
    printed, noted = [], []
    told = follow_rayjob(KubernetesApi(), rayjob(), printed.append, noted.append, pause=0.01)
    return told, "".join(printed), noted, story


def test_a_run_is_followed_from_its_queue_to_its_end(cluster):
    log = b"".join(b"line %014d\n" % number for number in range(12))
    told, printed, noted, _ = followed(
        cluster,
        ({}, []),
        ({"state": "Initializing"}, []),
        ({"state": "Running", **RUNS}, PODS),
        ({"state": "Running", **RUNS}, PODS),
        ({"state": "Complete", "jobStatus": "SUCCEEDED", "jobId": "one"}, PODS),
        log=log,
    )
    assert told.state == "succeeded"
    assert printed == log[:100].decode(), "each line once, over several reads"
    assert [note.split(" ", 1)[1].split(" ")[0] for note in noted] == ["has", "has", "has"]
    assert raise_unless_succeeded(told) is None


def test_a_retry_is_noted_and_its_log_read_from_the_beginning(cluster):
    told, printed, noted, _ = followed(
        cluster,
        ({"state": "Running", **RUNS}, PODS),
        ({"state": "Retrying", "failed": 1, "message": "Job entrypoint command failed with exit code 1"}, []),
        ({"state": "Running", "jobStatus": "RUNNING", "jobId": "two", "failed": 1}, PODS),
        ({"state": "Failed", "jobStatus": "FAILED", "jobId": "two", "reason": "AppFailed"}, []),
        log=b"0123456789abcdefghi\n" * 3,
    )
    assert told.state == "failed"
    assert printed == "0123456789abcdefghi\n" * 4
    assert any("is being restarted" in note and "start 1 of 3 failed" in note for note in noted)


def test_following_ends_when_the_rayjob_is_deleted(cluster):
    told, *_ = followed(cluster, ({"state": "Running", **RUNS}, PODS), (None, []))
    assert (told.state, told.sentence) == ("stopped", "arabic-dpo was stopped: its RayJob has been deleted")
    with pytest.raises(StoppedError):
        raise_unless_succeeded(told)


def test_a_rayjob_that_another_takes_the_place_of_is_named(cluster):
    leaving = rayjob("Running", **RUNS)
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    newer = rayjob("Initializing")
    newer["metadata"] |= {"name": "arabic-dpo-ffffff", "uid": "uid-2"}
    cluster.add(leaving, newer)
    looks = []

    def gone_at_the_third_look(method, path):
        looks.append(path) if path == f"{JOBS}/{NAME}" else None
        if len(looks) == 3:
            cluster.objects.pop(path, None)

    cluster.on_request = gone_at_the_third_look
    told = follow_rayjob(KubernetesApi(), leaving, print, print, pause=0.01)
    assert told.sentence == "arabic-dpo continues as RayJob arabic-dpo-ffffff"


def test_a_cluster_that_is_lost_for_a_while_is_noted_and_for_long_is_an_error(cluster, tmp_path):
    cluster.add(rayjob("Running", **RUNS), *PODS)
    cluster.refusals["/apis/ray.io"] = 503
    noted = []
    with pytest.raises(ClusterError, match="lost contact with arabic-dpo") as error:
        follow_rayjob(KubernetesApi(), rayjob(), print, noted.append, pause=0.01, timeout=0.1)
    assert error.value.exit_code == 3
    assert len(noted) == 1


@pytest.mark.parametrize(
    ("code", "kind"), [(1, TrainingError), (2, SpecError), (3, ClusterError), (130, StoppedError)]
)
def test_a_run_ends_with_the_exit_code_of_its_driver(code, kind, cluster):
    message = f"Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 chars):\n"
    told, *_ = followed(
        cluster, ({"state": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": message}, [])
    )
    with pytest.raises(kind) as error:
        raise_unless_succeeded(told)
    assert error.value.exit_code == code
