# SPDX-License-Identifier: Apache-2.0
"""Some inputs of every kind, the same ones each time; ``make fuzz`` tries more."""

from tests.fuzz.kinds import KINDS, plan
from tests.fuzz.pool import run_all

INPUTS = 500


def test_hostile_inputs_are_accepted_or_refused_in_time_and_memory():
    outcomes = list(run_all(plan(INPUTS, first=0), workers=2))
    assert len(outcomes) == INPUTS
    assert [f"{each.command}\n{each.detail}" for each in outcomes if each.verdict == "fault"] == []
    verdicts = {kind: {each.verdict for each in outcomes if each.kind == kind} for kind in KINDS}
    assert all("refused" in found for found in verdicts.values()), verdicts
