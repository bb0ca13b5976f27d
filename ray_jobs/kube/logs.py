# SPDX-License-Identifier: Apache-2.0
"""Logs: the output of a run's driver or of a worker, from wherever it is still available."""

from __future__ import annotations

import codecs

from tadrib.ray_jobs.kube.api import Forbidden, KubernetesApi, NotFound
from tadrib.ray_jobs.kube.head import Head
from tadrib.ray_jobs.kube.status.endings import log_in
from tadrib.ray_jobs.kube.status.objects import RunObjects, run_of
from tadrib.ray_jobs.kube.status.pods import is_head, is_worker
from tadrib.ray_jobs.runs.interface import Write
from tadrib.training.errors import ClusterError, Problem, SpecError


class DriverLog:
    """Passes on the driver's output, each line once, over any number of reads. A restarted job begins a new log.

    The log is read in the head's container: the pod's own log is Ray's, not the driver's. Without the permission to run
    commands there, the log of the submitter's pod is used, which repeats the driver's output.
    """

    def __init__(self, api: KubernetesApi, write: Write) -> None:
        self._api = api
        self._write = write
        self._start = ""
        self._position = 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def take(self, found: RunObjects) -> bool:
        """Pass on new output; returns whether the log could be read."""
        start = (found.job.get("status") or {}).get("jobId") or ""
        if start != self._start:
            self._start, self._position = start, 0
        try:
            new = self._read(found)
        except (Forbidden, NotFound):
            return False
        if self._position == 0:
            heading = f"{found.job['spec'].get('entrypoint', '')}\n".encode()
            shown = new.partition(heading)[2] if heading in new else new
        else:
            shown = new
        self._position += len(new)
        if text := self._decode(shown):
            self._write(text)
        return True

    def _read(self, found: RunObjects) -> bytes:
        try:
            return Head(self._api, found).driver_log(self._position)
        except (Forbidden, NotFound):
            submitters = [pod for pod in found.pods if not is_head(pod) and not is_worker(pod)]
            if not submitters:
                raise
            newest = max(submitters, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
            return self._api.log(newest["metadata"]["name"])[self._position :]


def write_log(api: KubernetesApi, found: RunObjects, worker: int | None, write: Write) -> None:
    """Pass the current log to ``write``. Raises SpecError if it is not available anywhere."""
    if worker is None:
        if DriverLog(api, write).take(found):
            return
        if end := log_in((found.job.get("status") or {}).get("message")):
            write(end)
            return
        raise _nowhere(found)
    try:
        head = Head(api, found)
        output = head.run("tadrib", "logs", head.directory, "--worker", str(worker))
    except NotFound:
        raise _nowhere(found) from None
    if output.exit_code:
        raise SpecError("no such log", [Problem(f"worker {worker}", output.stderr.strip() or "has no log.")])
    write(output.stdout.decode("utf-8", errors="replace"))


def _nowhere(found: RunObjects) -> ClusterError | SpecError:
    action = "Logs are kept in the run directory, under logs/."
    problem = Problem(run_of(found.job), "has no pod from which its log could be read.", action)
    return SpecError("no such log", [problem])
