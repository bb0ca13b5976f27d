# SPDX-License-Identifier: Apache-2.0
import io

import pytest

from tadrib.ray_jobs.console import decimal, duration
from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.events import AttemptStarted, Metrics, Step
from tadrib.training.phases import Phase


def test_without_a_terminal_there_is_a_line_for_each_phase_and_each_tenth_of_the_steps():
    screen = io.StringIO()
    with Display(screen) as display:
        display.show(Phase("loading the model"))
        display.show(Phase("training"))
        display.show(Step(0, 100, 0))
        for step in range(1, 101):
            display.show(Metrics({"step": step, "loss": 2.5, "tokens_per_second": 1234.0}))
            display.show(Step(step, 100, 0, seconds=0.5 * step))

    lines = screen.getvalue().splitlines()
    assert lines[0] == "[0:00] loading the model"
    assert lines[1] == "[0:00] training"
    assert lines[2] == "[0:00] training  step 10/100  loss 2.500  1,234 tokens/s  0:45 left"
    assert len(lines) == 12


def test_what_can_be_counted_before_training_is_shown_as_far_as_it_is():
    screen = io.StringIO()
    with Display(screen) as display:
        display.show(Phase("loading the reference model"))
        for done in range(0, 33, 8):
            display.show(Phase("scoring with the reference model", done, 32, "groups", seconds=0.5 * done))
        display.show(Phase("loading the model"))

    assert screen.getvalue().splitlines() == [
        "[0:00] loading the reference model",
        "[0:00] scoring with the reference model  0/32 groups",
        "[0:00] scoring with the reference model  8/32 groups  0:12 left",
        "[0:00] scoring with the reference model  16/32 groups  0:08 left",
        "[0:00] scoring with the reference model  24/32 groups  0:04 left",
        "[0:00] scoring with the reference model  32/32 groups  0:00 left",
        "[0:00] loading the model",
    ]


def test_a_run_that_continues_says_after_which_step():
    screen = io.StringIO()
    with Display(screen) as display:
        display.show(AttemptStarted(0, 2))
        display.show(AttemptStarted(30, 2))
    assert screen.getvalue() == "continuing after step 30\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.4, "0:07"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")]
)
def test_durations_read_like_clocks(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(2.71828, "2.718"), (-0.5, "-0.500"), (1e308, "1e+308"), (float("nan"), "nan")]
)
def test_numbers_fit_in_a_line_however_large(value, text):
    assert decimal(value) == text


def test_rows_are_shown_with_their_speed_and_the_time_left_where_the_end_is_known():
    screen = io.StringIO()
    with Display(screen) as display:
        display.show(Phase("preparing the data", 100, 400, "rows", seconds=2.0))
        display.show(Phase("reading", 100, 0, "rows", seconds=2.0))

    assert screen.getvalue().splitlines() == [
        "[0:00] preparing the data  100/400 rows  50 rows/s  0:06 left",
        "[0:00] reading  100 rows  50 rows/s",
    ]
