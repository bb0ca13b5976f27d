# SPDX-License-Identifier: Apache-2.0
"""When another start of the workers would only repeat the failure of the last one."""

import pytest

from tadrib.ray_jobs.driver.mailbox import Mailbox, WorkerGroup
from tadrib.ray_jobs.events import AttemptStarted, Failure, ReadyToResize, Step
from tadrib.training.errors import TrainingError


def failure(message: str, fatal: bool = False) -> Failure:
    return Failure(TrainingError(message), "RuntimeError", message, "loop.py:3", "log", fatal)


def attempt(mailbox: Mailbox, start: int, step: int, *failures: Failure) -> None:
    group = WorkerGroup()
    for event in (AttemptStarted(start, 2), Step(step, 100, start), *failures):
        mailbox.take(event, group)


@pytest.mark.parametrize(
    ("attempts", "final_failure"),
    [
        ([], None),
        ([(0, 5, failure("reset by peer"))], None),
        ([(0, 5, failure("NaN", fatal=True))], "NaN"),
        ([(0, 5, failure("bad row")), (0, 5, failure("bad row"))], "bad row"),
        ([(0, 5, failure("reset")), (0, 25, failure("reset"))], None),
        ([(0, 5, failure("reset")), (0, 5, failure("bad row"))], None),
        ([(0, 5, failure("NaN", fatal=True)), (0, 25)], None),
        ([(0, 5), (0, 5)], None),
    ],
    ids=[
        "nothing happened yet",
        "one failure may pass",
        "a fatal one does not",
        "the same twice at the same step",
        "the same, but further on",
        "another one at the same step",
        "a process that died without a word",
        "two that died without a word",
    ],
)
def test_another_attempt_is_made_unless_it_would_repeat_the_failure(attempts, final_failure):
    mailbox = Mailbox()
    for start, step, *failures in attempts:
        attempt(mailbox, start, step, *failures)

    found = mailbox.final_failure()

    assert (found.message if found else None) == final_failure


def test_the_first_failure_of_an_attempt_counts_as_the_others_follow_from_it():
    mailbox = Mailbox()
    attempt(mailbox, 0, 5, failure("NaN", fatal=True), failure("connection lost"))

    assert mailbox.final_failure().message == "NaN"


def test_a_save_is_asked_for_until_it_is_done_or_the_workers_are_others():
    mailbox = Mailbox()
    assert mailbox.has_saved
    mailbox.request_save()
    mailbox.take(Step(7, 100, 0), WorkerGroup())
    assert not mailbox.has_saved
    mailbox.take(ReadyToResize(), WorkerGroup())
    assert mailbox.has_saved

    mailbox.request_save()
    mailbox.serve([])
    assert mailbox.has_saved
