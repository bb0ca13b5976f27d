# SPDX-License-Identifier: Apache-2.0
"""Submission: a spec as a job of a Ray cluster. The job's command contains its text; code and data are not uploaded."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tadrib.ray_jobs.cluster.jobs import RUN, RUN_DIRECTORY, SPEC, JobDetails, JobServer, SubmissionIdTaken
from tadrib.ray_jobs.paths import relative_keys
from tadrib.training.config import JobSpec
from tadrib.training.config.loading import load_text
from tadrib.training.config.locations import is_url
from tadrib.training.config.problems.differences import differences
from tadrib.training.config.yaml.file import read_text
from tadrib.training.errors import ClusterError, Problem, SpecError

_MOST_BYTES = 120_000  # Linux limits an argument of a command to 128 KiB
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Submission:
    """What is submitted: the validated spec, the shell command that runs it, and the run directory."""

    spec: JobSpec
    entrypoint: str
    run_directory: str

    @property
    def metadata(self) -> dict[str, str]:
        """Stored with the job, to find the jobs of a run and to compare another submission with it."""
        mapping = json.dumps(self.spec.to_mapping(), ensure_ascii=False)
        return {RUN: self.spec.name, RUN_DIRECTORY: self.run_directory, SPEC: mapping}


def read_submission(path: Path, overrides: Sequence[str], *, resume: str, fresh: bool = False) -> Submission:
    """Validate the spec in the file ``path`` before anything is sent. ``resume`` is the command that the user typed.

    Relative paths keep their meaning: they are relative to the current directory, which the cluster must have too.
    Raises SpecError.
    """
    given = read_text(path)
    spec = load_text(given, str(path), overrides)
    command = ["tadrib", "launch", "-", "--resume", resume, *(["--fresh"] if fresh else [])]
    if keys := relative_keys(spec):
        command += ["--directory", os.getcwd(), *(f"--relative={key}" for key in keys)]
    if overrides:
        command += ["--", *overrides]
    text = given.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    end = _line_not_in(text)
    entrypoint = f"{shlex.join(command)} <<'{end}'\n{text}\n{end}"
    if len(entrypoint.encode()) > _MOST_BYTES:
        action = (
            f"Shorten it, or put it on the cluster and run `ray job submit -- tadrib launch {path.name}`."
        )
        problem = Problem("", f"is {len(text.encode())} bytes, too long for a job's command.", action)
        raise SpecError(str(path), [problem])
    directory = spec.run_dir if is_url(spec.run_dir) else os.path.abspath(spec.run_dir)
    return Submission(spec, entrypoint, directory)


def submit(server: JobServer, submission: Submission) -> tuple[JobDetails, bool]:
    """The job that runs the spec, and whether it was already running.

    The submission id is the run's name and a number. Ray accepts each id only once, so of two simultaneous submissions
    the second finds the job of the first. Raises SpecError with every difference if a job of the same name runs another
    spec.
    """
    name = submission.spec.name
    for _ in range(_TRIES):
        jobs = server.jobs(name)
        running = next((job for job in jobs if not job.status.is_terminal()), None)
        if running is not None:
            _require_same(server, running, submission)
            return running, True
        number = 1 + max([0, *_numbers(name, server.ids())])
        try:
            job = server.submit(submission.entrypoint, f"{name}-{number}", submission.metadata)
        except SubmissionIdTaken:
            continue
        return server.details(job), False
    raise ClusterError(f"{server.address} accepted other submissions of {name} first, {_TRIES} times", [])


def _numbers(name: str, ids: Sequence[str]) -> list[int]:
    matches = (re.fullmatch(rf"{re.escape(name)}-(\d+)", each) for each in ids)
    return [int(match[1]) for match in matches if match]


def _require_same(server: JobServer, job: JobDetails, submission: Submission) -> None:
    now, running = submission.metadata, job.metadata or {}
    text = "is {0!r} there and {1!r} here."
    found = differences(json.loads(running[SPEC]), json.loads(now[SPEC]), text)
    if running[RUN_DIRECTORY] != now[RUN_DIRECTORY]:
        message = f"is {running[RUN_DIRECTORY]} there and {now[RUN_DIRECTORY]} here."
        found.append(Problem("run directory", message))
    if found:
        name = submission.spec.name
        stop = f"tadrib stop {name} --address {server.address}"
        found.append(Problem("", f"Use another name=…, or end the running job with `{stop}`."))
        raise SpecError(f"job {job.submission_id} runs a different spec named {name}", found)


def _line_not_in(text: str) -> str:
    """A delimiter for the shell's here-document that is not a line of ``text``."""
    word, lines = "TADRIB_SPEC", set(text.split("\n"))
    while word in lines:
        word += "_"
    return word
