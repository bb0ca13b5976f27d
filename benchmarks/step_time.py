# SPDX-License-Identifier: Apache-2.0
"""Step time of `tadrib train` and of plain torchrun with the same trainer, spec and workers, on the same cores.

Two starts of the very same program differ by one or two percent for as long as they run, and the machine's own speed
drifts by more. So both sides are started several times, and within each pair take turns of seconds.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.sides import ours, torchrun
from benchmarks.tiny_runs import ENVIRONMENT, TinyRuns
from benchmarks.turns import seconds_a_step, started, take_turns

_ENDLESS = 10**6
_SECONDS_A_TURN = 6.0


@dataclass(frozen=True, slots=True)
class Pair:
    """One start of each side: medians over their turns of the seconds of a step, and of the ratios turn by turn."""

    ours: float
    torchrun: float
    ratio: float


def measure_pair(runs: TinyRuns, number: int, minutes: float) -> Pair:
    """Pair ``number``; the sides alternate in going first."""
    spec = runs.spec(f"turns-{number}", steps=_ENDLESS, save_steps=_ENDLESS)
    sides = ours(runs, spec), torchrun(runs, spec)
    with (
        started(sides[0].command, sides[0].log, lambda: len(sides[0].steps()) > 1, ENVIRONMENT) as our_side,
        started(sides[1].command, sides[1].log, lambda: len(sides[1].steps()) > 1, ENVIRONMENT) as their_side,
    ):
        rounds = max(1, round(minutes * 60 / _SECONDS_A_TURN / 2))
        if number % 2:
            their_turns, our_turns = take_turns(their_side, our_side, _SECONDS_A_TURN, rounds)
        else:
            our_turns, their_turns = take_turns(our_side, their_side, _SECONDS_A_TURN, rounds)
        own = [seconds_a_step(sides[0].steps(), turn) for turn in our_turns]
        theirs = [seconds_a_step(sides[1].steps(), turn) for turn in their_turns]
    ratios = [our / their for our, their in zip(own, theirs, strict=True)]
    return Pair(statistics.median(own), statistics.median(theirs), statistics.median(ratios))
