# SPDX-License-Identifier: Apache-2.0
"""Every preset on the cluster, one after another, with the tiny model: installed, run to its end, checked, removed."""

from __future__ import annotations

import pytest

from tadrib.training.config import METHODS
from tests.charts.helm import CHARTS
from tests.kind.settings import PRESET_STEPS, platform, preset_changes

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("method", METHODS)
def test_a_preset_trains_to_its_end_and_is_removed_without_a_trace(cluster, a_run, tmp_path, method):
    run = a_run(method)
    values = {
        "jobs": preset_changes(method, run.name),
        "platform": platform(cluster.operator_namespace),
    }
    run.install(values, tmp_path, "--values", str(CHARTS / "training-job" / "presets" / f"{method}.yaml"))

    result = run.wait_until_succeeded()
    assert (result["method"], result["steps_done"], result["steps_planned"]) == (
        *(method, PRESET_STEPS, PRESET_STEPS),
    )
    assert run.steps() == list(range(1, PRESET_STEPS + 1))
    assert f"{run.name} succeeded" in cluster.tadrib("status", run.name, *run.here)
    run.helm_test()

    run.uninstall()
    assert run.result() == result, "the run directory stays"
