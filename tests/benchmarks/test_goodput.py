# SPDX-License-Identifier: Apache-2.0
import pytest

from benchmarks.goodput import goodput


def test_steps_done_again_and_dead_time_are_lost():
    """Kept: 60 - 10 = 50 steps of 1 s. Time: 75 - 10 = 65 s, of which the fault cost 65 - 50 = 15 s.

    Undisturbed: 10 -> 20 (10 s), 20 -> 30 (10 s), 40 -> 50 (10 s), 50 -> 60 (10 s), so 40 s for 40 steps. After step
    30 at 30 s came a fault at 32 s, and step 40 at 55 s: 23 s instead of 10.
    """
    steps = [(10, 10.0), (20, 20.0), (30, 30.0), (40, 55.0), (50, 65.0), (60, 75.0)]

    share, step_seconds = goodput(steps, [32.0])

    assert step_seconds == pytest.approx(1.0)
    assert share == pytest.approx(50 / 65)


def test_a_side_that_logs_steps_twice_counts_them_once():
    """As above, with step 30 logged again at 45 s: 50 kept steps in 65 s. Undisturbed then: 10 -> 20, 20 -> 30,
    30 -> 40, 40 -> 50, 50 -> 60, 50 s for 50 steps."""
    steps = [(10, 10.0), (20, 20.0), (30, 30.0), (30, 45.0), (40, 55.0), (50, 65.0), (60, 75.0)]

    share, step_seconds = goodput(steps, [32.0])

    assert step_seconds == pytest.approx(1.0)
    assert share == pytest.approx(50 / 65)


def test_without_faults_nothing_is_lost():
    assert goodput([(10, 1.0), (20, 2.0), (30, 4.0)], []) == (pytest.approx(1.0), pytest.approx(0.15))
