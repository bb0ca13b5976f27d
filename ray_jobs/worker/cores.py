# SPDX-License-Identifier: Apache-2.0
"""Cores: the CPU affinity of a worker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/{}"


def pin_to_own_cores(worker: int, workers: int, cpus_per_worker: float) -> None:
    """Pin this process to its share of the machine's cores, if the machine's ``workers`` use all of them.

    Workers wait for each other in every step, and the scheduler lets two share a core whenever something small runs on
    another. With cores to spare the scheduler does better than a fixed share. In a container that is limited to part
    of the machine's cores, which ones is not known.
    """
    if not hasattr(os, "sched_getaffinity"):
        return
    share = share_of(sorted(os.sched_getaffinity(0), key=_place), worker, workers, cpus_per_worker)
    if share:
        for thread in os.listdir("/proc/self/task"):  # gloo's threads, which exist already, do not inherit it
            os.sched_setaffinity(int(thread), share)


def share_of(cores: Sequence[int], worker: int, workers: int, cpus_per_worker: float) -> Sequence[int]:
    """The cores of ``worker``, counted from 0; empty unless ``workers`` use all ``cores`` in equal shares."""
    each = int(cpus_per_worker)
    # a single worker may use every core anyway; fractions and remainders cannot be divided
    if workers < 2 or each != cpus_per_worker or each * workers != len(cores):
        return []
    return cores[worker * each : (worker + 1) * each]


def _place(core: int) -> tuple[int, int, int]:
    """Socket, physical core and number: sorted by these, hyperthreads of one core are adjacent."""
    files = [Path(_TOPOLOGY.format(core, name)) for name in ("physical_package_id", "core_id")]
    try:
        socket, physical = (int(file.read_text()) for file in files)
    except (OSError, ValueError):
        return 0, core, core
    return socket, physical, core
