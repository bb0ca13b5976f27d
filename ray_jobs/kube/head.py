# SPDX-License-Identifier: Apache-2.0
"""Head: the pod that the driver runs in. Commands in its container can read the run directory."""

from __future__ import annotations

from tadrib.ray_jobs.kube.api import KubernetesApi, NotFound, Output
from tadrib.ray_jobs.kube.status.objects import RunObjects, read_spec, run_directory
from tadrib.ray_jobs.kube.status.pods import is_head, is_leaving
from tadrib.ray_jobs.runs.status import Status, read_output
from tadrib.training.errors import ClusterError, Problem

_CONTAINER = "ray-head"


class Head:
    """The head of a run. Raises NotFound if its container is not running."""

    def __init__(self, api: KubernetesApi, found: RunObjects) -> None:
        running = [pod for pod in found.pods if is_head(pod) and not is_leaving(pod) and _runs(pod)]
        if not running:
            problem = Problem(found.job["metadata"]["name"], "has no running head.")
            raise NotFound("the head cannot be reached", [problem])
        self._api = api
        self._found = found
        self._pod = running[0]["metadata"]["name"]

    @property
    def directory(self) -> str:
        """The run directory, as the container sees it."""
        _, spec = read_spec(self._api, self._found.job)
        return run_directory(self._found.job, spec)

    def run(self, *command: str) -> Output:
        return self._api.run(self._pod, _CONTAINER, command)

    def status(self) -> Status:
        """The status from the run directory."""
        output = self.run("tadrib", "status", self.directory, "--json")
        if found := read_output(output.stdout.decode("utf-8", errors="replace")):
            return found[0]
        message = f"tadrib there returned no status but exit code {output.exit_code}: {output.stderr.strip()[-300:]}"
        raise ClusterError("the head's answer was not understood", [Problem(self._pod, message)])

    def driver_log(self, start: int) -> bytes:
        """The driver's output from byte ``start`` on."""
        job_id = (self._found.job.get("status") or {}).get("jobId", "*")
        file = f"/tmp/ray/session_latest/logs/job-driver-{job_id}.log"
        output = self.run("tail", "-c", f"+{start + 1}", file)
        if output.exit_code:
            problem = Problem(file, f"cannot be read: {output.stderr.strip()}.")
            raise NotFound("the driver has no log yet", [problem])
        return output.stdout


def ask(api: KubernetesApi, found: RunObjects) -> Status | None:
    """The status from the run directory; None without a running head or the permission to run commands in it."""
    if not (found.job.get("status") or {}).get("jobStatus"):
        return None
    try:
        return Head(api, found).status()
    except ClusterError:
        return None


def _runs(pod: dict) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any(each["name"] == _CONTAINER and "running" in (each.get("state") or {}) for each in statuses)
