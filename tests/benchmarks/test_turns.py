# SPDX-License-Identifier: Apache-2.0
import sys
import time

import pytest

from benchmarks.turns import seconds_a_step, started, take_turns

# a child does the work, as Ray's processes do
COUNTING = """
import subprocess, sys, time
child = "import time\\nfor n in range(10**6): print('step', n, time.time(), flush=True); time.sleep(0.02)"
subprocess.run([sys.executable, "-c", child])
"""


def times(file) -> list[tuple[int, float]]:
    rows = [line.split() for line in file.read_text().splitlines()]
    return [(int(row[1]), float(row[2])) for row in rows if len(row) == 3]


def test_of_two_programs_one_stands_still_while_the_other_runs(tmp_path):
    files = [tmp_path / "first", tmp_path / "second"]
    command = [sys.executable, "-c", COUNTING]
    with (
        started(command, files[0], lambda: len(times(files[0])) > 1) as first,
        started(command, files[1], lambda: len(times(files[1])) > 1) as second,
    ):
        turns = take_turns(first, second, 0.5, rounds=3)

    margin = 0.05  # for a line under way when its program is stopped
    for file, own, others in zip(files, turns, reversed(turns), strict=True):
        moments = [moment for _, moment in times(file)]
        for began, ended in own:
            assert sum(began <= moment <= ended for moment in moments) > 2
            assert 0.02 <= seconds_a_step(times(file), (began, ended)) < 0.2
        for began, ended in others:
            assert not any(began + margin < moment < ended - margin for moment in moments)


def test_a_program_that_ends_is_not_waited_for(tmp_path):
    brief = [sys.executable, "-c", "import time; print('enough'); time.sleep(1); exit(3)"]
    with (
        pytest.raises(RuntimeError, match=r"ended with 3:\nenough"),
        started(brief, tmp_path / "log", lambda: False),
    ):
        pass
    began = time.monotonic()
    with (
        pytest.raises(RuntimeError, match=r"ended with 3:\nenough"),
        started(brief, tmp_path / "first", lambda: True) as first,
        started(brief, tmp_path / "second", lambda: True) as second,
    ):
        take_turns(first, second, 2.0, rounds=5)
    assert time.monotonic() - began < 10


def test_seconds_of_a_step_are_those_between_the_first_and_the_last_within():
    """Steps 10 to 30 lie in the span: (4.0 - 2.0) / (30 - 10) = 0.1 s."""
    logged = [(0, 0.5), (10, 2.0), (20, 2.5), (30, 4.0), (40, 9.0)]
    assert seconds_a_step(logged, (1.0, 8.0)) == pytest.approx(0.1)
