# SPDX-License-Identifier: Apache-2.0
"""Cores: which of a machine's a worker computes on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/{}"


def keep_to_own_cores(worker: int, workers: int, cpus_per_worker: float) -> None:
    """Bind this process to its share of the machine's cores, where the machine's ``workers`` take them all.

    Workers wait for each other in every step, and the system, left to itself, lets two share a core whenever something
    small runs on the other. Where cores are to spare it does better than a fixed share, and where a container may
    use a part of the machine's cores it cannot be known which.
    """
    if not hasattr(os, "sched_getaffinity"):
        return
    share = share_of(sorted(os.sched_getaffinity(0), key=_place), worker, workers, cpus_per_worker)
    if share:
        for thread in os.listdir("/proc/self/task"):  # those that are there already, gloo's for instance
            os.sched_setaffinity(int(thread), share)


def share_of(cores: Sequence[int], worker: int, workers: int, cpus_per_worker: float) -> Sequence[int]:
    """The cores of ``worker``, counted from 0; empty when ``workers`` do not take all ``cores`` in equal parts."""
    each = int(cpus_per_worker)
    if workers < 2 or each != cpus_per_worker or each * workers != len(cores):
        return []
    return cores[worker * each : (worker + 1) * each]


def _place(core: int) -> tuple[int, int, int]:
    """Socket, physical core and number: neighbours in this order are neighbours in the machine."""
    files = [Path(_TOPOLOGY.format(core, name)) for name in ("physical_package_id", "core_id")]
    try:
        socket, physical = (int(file.read_text()) for file in files)
    except (OSError, ValueError):
        return 0, core, core
    return socket, physical, core
