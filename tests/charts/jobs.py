# SPDX-License-Identifier: Apache-2.0
"""Parts of a rendered RayJob, by the names in which tests speak of them."""

from __future__ import annotations

from typing import Any

from tests.charts.helm import CHARTS, JOB_VALUES, PRESETS, one, render_file
from tests.charts.pods import templates

Object = dict[str, Any]
TRAINING_FILES = [*PRESETS, *JOB_VALUES]


def case(name: str) -> Object:
    """The RayJob of a values file of ci/."""
    return one(render_file("training-job", CHARTS / "training-job" / "ci" / f"{name}-values.yaml"), "RayJob")


def head_of(job: Object) -> Object:
    """The head's pod template."""
    return dict(templates(job))["head"]


def workers_of(job: Object) -> Object:
    """The workers' pod template."""
    return dict(templates(job))["worker workers"]


def group_of(job: Object) -> Object:
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return group


def limits_of(pod: Object) -> Object:
    return pod["spec"]["containers"][0]["resources"]["limits"]
