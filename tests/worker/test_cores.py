# SPDX-License-Identifier: Apache-2.0
"""Workers keep to cores of their own only where they take all that there are."""

import json
import os
import subprocess
import sys

import pytest

from tadrib.ray_jobs.worker.cores import share_of

# a thread that is there before, and one that comes after
BIND = """
import json, os, sys, threading
from tadrib.ray_jobs.worker.cores import pin_to_own_cores
done = threading.Event()
threading.Thread(target=done.wait).start()
pin_to_own_cores(int(sys.argv[1]), int(sys.argv[2]), 1.0)
threading.Thread(target=done.wait).start()
print(json.dumps([sorted(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task")]))
done.set()
"""


@pytest.mark.parametrize(
    ("cores", "worker", "workers", "cpus", "share"),
    [
        ([0, 1], 0, 2, 1.0, [0]),
        ([0, 1], 1, 2, 1.0, [1]),
        ([0, 4, 1, 5, 2, 6], 1, 3, 2.0, [1, 5]),
        ([0, 1], 0, 1, 1.0, []),
        ([0, 1], 0, 1, 2.0, []),
        ([0, 1, 2], 0, 2, 1.0, []),
        ([0, 1], 3, 4, 1.0, []),
        ([0, 1, 2], 1, 2, 1.5, []),
    ],
    ids=[
        "the first of two",
        "the second of two",
        "neighbours in the machine, by the order given",
        "a core to spare",
        "alone with all of them",
        "one too many for equal parts",
        "more workers than cores",
        "parts of a core",
    ],
)
def test_a_worker_gets_its_part_where_all_cores_are_taken(cores, worker, workers, cpus, share):
    assert list(share_of(cores, worker, workers, cpus)) == share


def bound(worker: int, workers: int) -> list[list[int]]:
    """The cores of each thread of a process that keeps to its own."""
    done = subprocess.run(
        [sys.executable, "-c", BIND, str(worker), str(workers)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process to cores")
@pytest.mark.skipif(os.cpu_count() == 1, reason="there is one core")
def test_every_thread_of_a_process_is_bound_and_no_two_workers_share_a_core():
    cores = sorted(os.sched_getaffinity(0))
    shares = [bound(worker, len(cores)) for worker in range(len(cores))]
    assert all(len(threads) == 3 and threads.count(threads[0]) == 3 for threads in shares)
    assert sorted(core for threads in shares for core in threads[0]) == cores
    assert bound(0, len(cores) + 1) == [cores] * 3
