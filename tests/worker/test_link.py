# SPDX-License-Identifier: Apache-2.0
"""What a worker and the driver's visits do with each other's words."""

import threading
import time

from tadrib.ray_jobs.events import Failure, Note
from tadrib.ray_jobs.worker.link import Link, Orders
from tadrib.training.errors import TrainingError


def in_thread(work) -> tuple[threading.Thread, list]:
    """``work`` under way, and the list that its result comes into."""
    results: list = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    return thread, results


def test_a_visit_takes_what_was_posted_once_and_in_order():
    link = Link()
    link.post(Note("one"))
    link.post(Note("two"), Note("three"))
    assert link.exchange(Orders()) == [Note("one"), Note("two"), Note("three")]
    assert link.exchange(Orders()) == []


def test_a_worker_waits_for_the_data_and_then_for_where_all_begin():
    link = Link()
    waiting, result = in_thread(lambda: (link.wait_for_data(), link.wait_for_start_step()))
    link.exchange(Orders())
    link.exchange(Orders(data_ready=True))
    waiting.join(0.2)
    assert waiting.is_alive()
    link.exchange(Orders(data_ready=True, start_step=0))  # the first step is a step to begin at, too
    waiting.join(10)
    assert result == [(None, 0)]


def test_an_attempt_without_hope_does_not_wait_for_data():
    link = Link()
    failure = Failure(TrainingError("NaN"), "TrainingError", "NaN", "loop.py:3", "log", fatal=True)
    waiting, result = in_thread(link.wait_for_data)
    link.exchange(Orders(final_failure=failure))
    waiting.join(10)
    assert result == [failure]


def test_flush_returns_when_everything_was_taken_or_its_time_is_over():
    link = Link()
    link.flush()
    link.post(Note("last words"))
    began = time.monotonic()
    link.flush(timeout=0.3)
    assert time.monotonic() - began >= 0.3
    waiting, result = in_thread(lambda: link.flush(timeout=60))
    assert link.exchange(Orders(stop=True)) == [Note("last words")]
    waiting.join(10)
    assert result == [None]
    assert link.stop_requested
