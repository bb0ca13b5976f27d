# SPDX-License-Identifier: Apache-2.0
"""What `helm uninstall` leaves: the run directory, with a checkpoint, and no object. The last file of this folder."""

from __future__ import annotations

import pytest

from tests.kind.run import left
from tests.kind.settings import OWN, STEPS
from tests.kind.volume import POD, ROWS

pytestmark = pytest.mark.cluster


def test_a_run_that_is_uninstalled_in_the_middle_saves_a_checkpoint(long_run):
    run = long_run("gone")
    run.wait_for_a_checkpoint()
    run.uninstall()
    result = run.result()
    assert result["status"] == "stopped", run.log()
    assert run.checkpoints()[-1] == result["steps_done"] < STEPS


def test_nothing_is_left_of_any_run(cluster, volume):
    assert left(cluster, OWN) == [f"ConfigMap/{ROWS}", f"Pod/{POD}"]
