# SPDX-License-Identifier: Apache-2.0
"""Head: the container of a run's head, as far as commands inside of it give something back."""

from __future__ import annotations

import json

from tests.kubernetes.recorded import CLUSTER, HOUR

JOBS = "/apis/ray.io/v1/namespaces/team-a/rayjobs"
RUNNING = {"jobStatus": "RUNNING", "jobId": "arabic-dpo-9x", "rayJobInfo": {"startTime": HOUR}}
LOG = "some of Ray's\nRunning entrypoint for job arabic-dpo-9x: tadrib launch /etc/tadrib/arabic-dpo.yaml\n"
PROGRESS = {
    "state": "running",
    "run_directory": "/mnt/tadrib/runs/arabic-dpo",
    "name": "arabic-dpo",
    "steps_done": 40,
    "steps_planned": 100,
    "loss": 0.512,
    "checkpoint": "checkpoint-30",
    "seconds_left": 750.0,
}


class Head:
    """What commands inside of the head's container give back."""

    def __init__(self, cluster):
        self.commands = []
        self.progress = PROGRESS
        self.log = (LOG + "[0:01] training  step 1/100  قطار\n").encode()
        cluster.command = self

    def __call__(self, pod, command):
        assert pod == f"{CLUSTER}-head-0"
        self.commands.append(command)
        if command[:2] == ["tadrib", "status"]:
            return 0, f"some warning\n{json.dumps(self.progress)}\n".encode(), ""
        if command[0] == "tail":
            return 0, self.log[int(command[2]) - 1 :], ""
        if command[:2] == ["tadrib", "logs"]:
            return (0, b"loss nan\n", "") if command[-1] == "1" else (2, b"", "no such log: 1 problem")
        return 1, b"", "goes on"
