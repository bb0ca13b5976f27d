# SPDX-License-Identifier: Apache-2.0
"""Logs: what a run's driver or one of its workers printed, from wherever it still is."""

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
    """Passes on what the driver prints, each line once, over any number of reads; a new start begins anew.

    It is read inside of the head, whose pod log is Ray's and not the driver's. Who may not run commands there gets
    the log of the submitter's pod, which repeats it, where there is one.
    """

    def __init__(self, api: KubernetesApi, write: Write) -> None:
        self._api = api
        self._write = write
        self._start = ""
        self._position = 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def take(self, found: RunObjects) -> bool:
        """Pass on what is new; says whether the log could be read."""
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
    """Give ``write`` the log as it is now. Raises SpecError where it is nowhere to be read."""
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
    problem = Problem(run_of(found.job), "has no pod that its log could be read from.", action)
    return SpecError("no such log", [problem])
