# SPDX-License-Identifier: Apache-2.0
"""`wait_until` and the retries of an object store, by how often and for how long they look."""

from __future__ import annotations

import time

import pytest

from tadrib.training.files.retries import retry
from tadrib.training.waiting import wait_until


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """Sleeps take no time; the clock goes on by them."""
    sleeps: list[float] = []
    monkeypatch.setattr(time, "sleep", sleeps.append)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + sum(sleeps))
    return sleeps


def failing(*errors: Exception):
    """An action that raises these errors one by one, and the last one from then on."""
    left = list(errors)

    def action() -> str:
        raise left.pop(0) if len(left) > 1 else left[0]

    return action


def test_it_looks_at_once_and_then_at_intervals_until_the_condition_holds(slept):
    numbers = iter(range(10))
    assert wait_until(lambda: next(numbers), lambda n: n == 3, every=0.5) == 3
    assert slept == [0.5, 0.5, 0.5]


def test_without_a_condition_it_waits_for_something_true(slept):
    found = iter(["", "", "here"])
    assert wait_until(lambda: next(found), every=1.0) == "here"


@pytest.mark.parametrize(("timeout", "looks"), [(0.0, 1), (1.0, 2), (2.5, 4)])
def test_after_the_timeout_it_returns_what_it_saw_last(slept, timeout, looks):
    seen: list[int] = []
    assert wait_until(lambda: seen.append(1), timeout=timeout, every=1.0) is None
    assert len(seen) == looks


def test_a_retry_waits_twice_as_long_each_time_and_never_more_than_fifteen_seconds(slept):
    with pytest.raises(OSError, match="timed out"):
        retry(failing(OSError("timed out")), 60.0, lambda error: None)
    # 0.5 + 1 + ... + 8 + 15 + 15 = 45.5, and the next wait would lead past 60 s
    assert slept == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_the_third_permanent_error_in_a_row_ends_it_and_any_other_starts_the_count_again(slept):
    denied, slow = OSError("ACCESS_DENIED"), OSError("timed out")
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        retry(failing(denied, denied, slow, denied, denied, denied, slow), 600.0, lambda error: None)
    assert len(slept) == 5


def test_the_first_error_alone_is_told(slept):
    told: list[BaseException] = []
    with pytest.raises(OSError, match="second"):
        retry(failing(OSError("first"), OSError("second")), 10.0, told.append)
    assert [str(error) for error in told] == ["first"]


@pytest.mark.parametrize("error", [FileNotFoundError("none"), ValueError("wrong")])
def test_what_no_retry_can_change_is_raised_at_once(slept, error):
    with pytest.raises(type(error)):
        retry(failing(error), 600.0, lambda error: None)
    assert slept == []
