# SPDX-License-Identifier: Apache-2.0
"""Endings: how a run ended, from KubeRay, Ray, the pods and the run directory together.

None of them is sufficient alone: KubeRay calls a stopped job Complete, and one whose submitter died Failed. A driver
that was asked to stop fails with exit code 130. Only result.json confirms success.
"""

from __future__ import annotations

import re
from typing import Any

from tadrib.ray_jobs.kube.status.objects import RunObjects, run_of
from tadrib.ray_jobs.kube.status.pods import ended_by, is_head, worst
from tadrib.ray_jobs.kube.status.units import moment, words
from tadrib.ray_jobs.runs.status import NO_RESULT, Status, first_problem

Object = dict[str, Any]

_RESUME = "Submit it again to continue from its last checkpoint."
_EXIT_CODE = re.compile(r"failed with exit code (-?\d+)")
_CODES = {
    1: "training failed",
    2: "it was refused before training",
    3: "no Ray cluster could be joined",
    126: "the command tadrib cannot be executed in the image",
    127: "the command tadrib is not in the image",
}
_STOPPED_CODE = 130


def complete(found: RunObjects, progress: Status | None) -> Status:
    """A RayJob that is Complete: succeeded, stopped or failed, which KubeRay does not distinguish."""
    status, name = found.job.get("status") or {}, run_of(found.job)
    match status.get("jobStatus") or "":
        case "SUCCEEDED":
            return _succeeded(found, progress)
        case "STOPPED":
            return _stopped(found, progress)
        case "FAILED":
            return failed(found, progress)
        case other:
            why = f"has ended, but Ray did not report how ({other or 'no job status'})"
            return Status("failed", name, f"{name} {why}", _RESUME, error=why)


def failed(found: RunObjects, progress: Status | None) -> Status:
    """A RayJob that is Failed, and the reason that a user can act on."""
    status, name = found.job.get("status") or {}, run_of(found.job)
    code = exit_code_in(status.get("message"))
    # only its submitter or KubeRay's bookkeeping failed, not the run
    if status.get("jobStatus") == "SUCCEEDED":
        return _succeeded(found, progress)
    if status.get("jobStatus") == "STOPPED" or code == _STOPPED_CODE:
        return _stopped(found, progress)
    why, action = _reason(found, code)
    if progress is not None and progress.state == "failed" and progress.error:
        at = f" at step {progress.steps_done}" if progress.steps_done else " before its first step"
        text = f"{name} failed{at}: {first_problem(progress.error)}"
        return Status("failed", name, text, _RESUME, driver_exit_code=code)
    text = f"{name} failed: {why}"
    return Status("failed", name, text, action or _RESUME, driver_exit_code=code, error=why)


def exit_code_in(message: str | None) -> int | None:
    """The driver's exit code in Ray's message on a failed job."""
    match = _EXIT_CODE.search(message or "")
    return int(match[1]) if match else None


def log_in(message: str | None) -> str:
    """The end of the driver's log, which Ray appends to its message."""
    return (message or "").partition("chars):\n")[2]


def _succeeded(found: RunObjects, progress: Status | None) -> Status:
    status, name = found.job.get("status") or {}, run_of(found.job)
    if progress is not None and progress.state not in ("succeeded", "running", "waiting"):
        return Status("failed", name, f"{name} failed: {NO_RESULT}", _RESUME, error=NO_RESULT)
    text = f"{name} succeeded{_took(status)}"
    if progress is not None and progress.state == "succeeded":
        text = progress.sentence
    facts: tuple[tuple[str, str], ...] = ()
    if status.get("reason"):
        facts = (
            ("note", f"KubeRay reports {status['reason']} for its own bookkeeping; the job itself succeeded"),
        )
    return Status("succeeded", name, text, facts=facts)


def _stopped(found: RunObjects, progress: Status | None) -> Status:
    status, name = found.job.get("status") or {}, run_of(found.job)
    text = f"{name} was stopped{_took(status, ' after ')}"
    if progress is not None and progress.state == "stopped":
        text = progress.sentence
    return Status("stopped", name, text, _RESUME, driver_exit_code=exit_code_in(status.get("message")))


def _reason(found: RunObjects, code: int | None) -> tuple[str, str]:
    status = found.job.get("status") or {}
    said, spec = _first_line(status.get("message")), found.job["spec"]
    killed = next((trouble for pod in found.pods if is_head(pod) and (trouble := ended_by(pod))), None)
    match status.get("reason") or "":
        case "SubmissionFailed":
            return _submission(status, said)
        case "DeadlineExceeded":
            action = "Raise platform.deadlines.activeSeconds, and submit it again to continue."
            return f"it reached its deadline of {words(spec.get('activeDeadlineSeconds') or 0)}", action
        case "PreRunningDeadlineExceeded":
            trouble = worst(found.pods, found.events)
            because = f": {trouble.text}" if trouble else ""
            action = (
                trouble.action
                if trouble and trouble.action
                else "`tadrib doctor SPEC` shows what it is waiting for."
            )
            return (
                f"it did not start within {words(spec.get('preRunningDeadlineSeconds') or 0)}{because}",
                action,
            )
        case "JobStatusCheckTimeoutExceeded":
            if killed:
                return f"its head was lost: {killed.text}", killed.action
            action = "Check platform.networkPolicy.operatorNamespace, and platform.head.memory."
            return (
                "the KubeRay operator could not reach its head for minutes, perhaps because the head was lost",
                action,
            )
        case "JobDeploymentStatusTransitionGracePeriodExceeded":
            return "its submitter ended before Ray's job did, and KubeRay gave up", ""
        case _:
            return _driver_reason(
                status, code, killed.text if killed else "", killed.action if killed else "", said
            )


def _submission(status: Object, said: str) -> tuple[str, str]:
    """The submitter's pod died. Beware: the job itself may have been running."""
    if status.get("jobStatus") == "RUNNING":
        text = "its submitter pod died, so KubeRay ended the run while it was training"
        return (
            f"{text} ({said})",
            "Submit it again to continue; platform.submissionMode: HTTPMode has no such pod.",
        )
    return f"its job could not be submitted ({said})", "Check the image, and the log of the submitter's pod."


def _driver_reason(status: Object, code: int | None, killed: str, action: str, said: str) -> tuple[str, str]:
    log = log_in(status.get("message"))
    if named := re.findall(r"^✗ (.+)$", log, re.MULTILINE):
        return named[-1].strip(), _remedy(code)
    if killed:
        return killed, action
    if code is not None and (code < 0 or code > 128):
        return (
            f"its driver was killed (exit code {code}), perhaps because memory ran out",
            "Raise platform.head.memory.",
        )
    if code is not None:
        return _CODES.get(code, f"its driver ended with exit code {code}"), _remedy(code)
    return said, ""


def _remedy(code: int | None) -> str:
    return "Correct the spec, and submit it again." if code == 2 else ""


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[0].strip().rstrip(".")[:300] if lines else "no reason was given"


def _took(status: Object, before: str = " in ") -> str:
    ray = status.get("rayJobInfo") or {}
    began, ended = (
        moment(ray.get("startTime") or status.get("startTime")),
        moment(ray.get("endTime") or status.get("endTime")),
    )
    return f"{before}{words((ended - began).total_seconds())}" if began and ended else ""
