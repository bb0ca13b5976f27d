# SPDX-License-Identifier: Apache-2.0
"""What of a job's log is the job's own."""

import pytest

from tadrib.ray_jobs.cluster.follow import _Log
from tadrib.ray_jobs.cluster.jobs import JobDetails

SETTING_UP = "2026-11-25 19:20:00,123\tINFO job_manager.py:595 -- Runtime env is setting up.\n"
HEADING = "Running entrypoint for job quick-1: echo one; echo two\n"


@pytest.mark.parametrize(
    "text",
    [SETTING_UP + HEADING + "one\ntwo\n", SETTING_UP + "one\n" + HEADING + "two\n", HEADING + "one\ntwo\n"],
    ids=["heading first", "a command quicker than the heading", "nothing to set up"],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_every_line_of_the_job_is_passed_on_once_and_no_line_of_ray(text, size):
    written: list[str] = []
    job = JobDetails(
        type="SUBMISSION", submission_id="quick-1", status="RUNNING", entrypoint="echo one; echo two"
    )
    log = _Log(job, written.append)
    for _ in range(2):  # a connection that broke sends all of it again
        log.rewind()
        for start in range(0, len(text), size):
            log.take(text[start : start + size])
    log.take_all(text)
    assert "".join(written) == "one\ntwo\n"
