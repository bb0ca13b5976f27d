# SPDX-License-Identifier: Apache-2.0
"""Running: the status of a RayJob that is Running, which KubeRay may report long after the run is gone, or Retrying."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tadrib.ray_jobs.kube.status.endings import complete, failed
from tadrib.ray_jobs.kube.status.objects import RunObjects, run_of
from tadrib.ray_jobs.kube.status.pods import is_head, is_leaving, is_ready, is_worker, trouble_of, worst
from tadrib.ray_jobs.kube.status.trouble import workers_in
from tadrib.ray_jobs.kube.status.units import since
from tadrib.ray_jobs.runs.status import Status

Object = dict[str, Any]


def running(found: RunObjects, now: datetime, progress: Status | None) -> Status:
    status = found.job.get("status") or {}
    job_status, name = status.get("jobStatus") or "", run_of(found.job)
    if job_status in ("SUCCEEDED", "STOPPED"):
        return complete(found, progress)
    if job_status == "FAILED":  # KubeRay has not yet failed or retried the RayJob
        is_last = (status.get("failed") or 0) >= (found.job["spec"].get("backoffLimit") or 0)
        return failed(found, progress) if is_last else retrying(found, name)
    if lost := _unreachable_head(found, now):
        return lost
    if job_status == "RUNNING":
        return Status("running", name, _running_sentence(found, now, progress), *_shortage(found))
    if submitter := _broken_submitter(found):
        return Status("pending", name, f"{name} has a cluster, but its job cannot be submitted: {submitter}")
    age = since(status.get("startTime"), now)
    text = f"{name} has been starting for {age}: its cluster is up and its job is being submitted"
    return Status("pending", name, text if age else f"{name} is starting: its job is being submitted")


def _running_sentence(found: RunObjects, now: datetime, progress: Status | None) -> str:
    name, status = run_of(found.job), found.job.get("status") or {}
    text = f"{name} is running"
    if progress is not None and progress.state == "running":
        text = progress.sentence
    elif age := since((status.get("rayJobInfo") or {}).get("startTime") or status.get("startTime"), now):
        text = f"{name} has been running for {age}"
    return text


def _shortage(found: RunObjects) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Problems of a running job, as an action and facts: missing workers, a submitter that died."""
    facts = []
    if broken := _broken_submitter(found):
        facts.append(("warning", f"{broken}; KubeRay may report the run as failed while it is still running"))
    stuck = [pod for pod in found.pods if is_worker(pod) and not is_ready(pod) and not is_leaving(pod)]
    if trouble := worst(stuck, found.events):
        missing = sum(map(workers_in, stuck))
        text = f"{missing} of its workers {'is' if missing == 1 else 'are'} missing: {trouble.text}"
        return trouble.action, (*facts, ("warning", text))
    return "", tuple(facts)


def _unreachable_head(found: RunObjects, now: datetime) -> Status | None:
    """The head is gone, or the operator cannot reach it: KubeRay still reports Running, sometimes forever."""
    status, name = found.job.get("status") or {}, run_of(found.job)
    heads = [pod for pod in found.pods if is_head(pod)]
    dead = next(
        (trouble for pod in heads if (trouble := trouble_of(pod, found.events)) and trouble.is_fatal), None
    )
    action = "KubeRay ends it after 300 s without an answer, and restarts it if platform.retries allows that."
    if dead:
        return Status("pending", name, f"{name} has lost its head: {dead.text}", dead.action or action)
    failing = since(status.get("jobStatusCheckFailureStartTime"), now)
    if failing:
        text = f"{name} may be running, but the KubeRay operator has not reached its head for {failing}"
        why = "Check platform.networkPolicy.operatorNamespace, and that the head has enough memory."
        return Status("running", name, text, why)
    if status.get("jobStatus") and not heads and found.pods and "pods" not in found.unread:
        return Status(
            "pending", name, f"{name} has lost its head, and its pod has not been created again", action
        )
    if status.get("jobStatus") and not found.pods and not found.unread:
        return Status("pending", name, f"{name} has lost its pods, though its RayJob is Running", action)
    return None


def _broken_submitter(found: RunObjects) -> str:
    conditions = ((found.submitter or {}).get("status") or {}).get("conditions") or []
    for each in conditions:
        if each["type"] in ("Failed", "FailureTarget") and each["status"] == "True":
            return f"its submitter pod died ({each.get('reason')}: {line(each.get('message'))})"
    submitters = [pod for pod in found.pods if not is_head(pod) and not is_worker(pod)]
    trouble = worst(submitters, found.events)
    return f"its submitter is not running: {trouble.text}" if trouble and not found.unread else ""


def retrying(found: RunObjects, name: str) -> Status:
    """The status of a RayJob that is being retried. KubeRay keeps reason and message until the old cluster is gone."""
    ended = failed(found, None)
    why = ended.sentence.partition(": ")[2] or "its driver was stopped"
    text = f"{name} is being restarted from its last checkpoint, as {failed_start(found)} failed: {why}"
    return Status("pending", name, text)


def failed_start(found: RunObjects) -> str:
    """``start 1 of 3``: the one that failed. KubeRay counts it only when it retries."""
    status = found.job.get("status") or {}
    count = status.get("failed") or 0
    is_counted = status.get("jobDeploymentStatus") != "Running"
    return f"start {count + (not is_counted)} of {1 + (found.job['spec'].get('backoffLimit') or 0)}"


def line(text: str | None) -> str:
    """A controller's message as one line."""
    return " ".join((text or "no reason was given").split()).rstrip(".")[:400]
