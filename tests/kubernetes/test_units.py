# SPDX-License-Identifier: Apache-2.0
"""Quantities, times and the scheduler's sentences."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tadrib.ray_jobs.kube.status.scheduling import no_node, requests_of
from tadrib.ray_jobs.kube.status.units import quantity, since, words


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", 0.5),
        ("8Gi", 8 * 2**30),
        ("2", 2),
        (3, 3),
        ("1e3", 1000),
        ("12E", 12e18),
        ("1.5k", 1500),
        ("100M", 1e8),
    ],
)
def test_quantities_are_numbers(text, number):
    assert float(quantity(text)) == number


@pytest.mark.parametrize("text", ["", "x", "8Gib", "1.2.3"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match="not a quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (47 * 3600, "47 h"),
        (604800, "7 days"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert words(seconds) == said


def test_times_of_any_zone_and_precision_are_read():
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert since("2026-11-24T11:56:00Z", now) == "4 min"
    assert since("2026-11-24T14:56:00.123456+03:00", now) == "3 min"
    assert since(None, now) == ""


def test_a_pod_asks_for_the_sum_of_its_containers_or_its_largest_init_container():
    def container(**asked):
        return {"resources": {"requests": asked}}

    spec = {
        "containers": [
            container(cpu="500m", memory="1Gi"),
            container(cpu="2"),
            {"resources": {"limits": {"gpu": "1"}}},
        ],
        "initContainers": [container(cpu="4"), container(memory="1Mi")],
    }
    assert requests_of(spec) == {"cpu": "4", "memory": "1Gi", "gpu": "1"}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("0/1 nodes are available: 1 Too many pods.", "0/1 nodes fit: 1 has the maximum number of pods"),
        ("0/2 nodes are available: 2 node(s) were unschedulable.", "0/2 nodes fit: 2 are cordoned"),
        (
            "0/2 nodes are available: 2 cannot allocate all claims.",
            "0/2 nodes fit: 2 cannot satisfy its resource claims",
        ),
        ("0/9 nodes are available: 9 something new.", "0/9 nodes fit: 9 something new"),
        (
            "0/2 nodes are available: 1 node(s) had untolerated taint {a: b, c}, 1 Insufficient cpu. preemption: x",
            "0/2 nodes fit: 1 has a taint that the pod does not tolerate {a: b, c}, 1 lacks 2 free cpu",
        ),
        (  # as Kubernetes 1.35 says it
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are "
            "available: 1 No preemption victims found for incoming pod.",
            "0/1 nodes have 2 free cpu",
        ),
        ("", "the scheduler has not processed it yet"),
    ],
)
def test_the_scheduler_in_words(message, said):
    assert no_node(message, {"cpu": "2"}) == said


def test_help_and_validate_load_neither_ray_nor_kubernetes():
    code = (
        "import sys; from tadrib.ray_jobs.cli.app import app; "
        "print([m for m in ('ray', 'kubernetes', 'torch', 'urllib3', 'requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
