# SPDX-License-Identifier: Apache-2.0
"""Liveness: whether the driver that holds a run's lock is still running, for the lock and for the status."""

from __future__ import annotations

from tadrib.training.run.files import RunFiles
from tadrib.training.run.holder import Holder
from tadrib.training.waiting import wait_until

BEAT_SECONDS = 5.0
"""Seconds between two heartbeats of a driver."""
TIMEOUT = 2.6 * BEAT_SECONDS
"""Seconds to wait for a heartbeat of a driver on another machine: one may be lost, and the next a little late."""


def is_alive(run: RunFiles, held: Holder) -> bool:
    """Whether the holder is still running.

    A process of this machine is looked up. A driver on another machine is alive if its heartbeat changes within
    `TIMEOUT` seconds. The time in the heartbeat is not used, as clocks differ between machines. So for a driver that is
    alive this takes until its next heartbeat, and for a dead one the whole timeout.
    """
    if held.is_here:
        return held.is_running
    before = (held.owner, held.beat)
    now = wait_until(
        run.holder,
        lambda now: now is None or (now.owner, now.beat) != before,
        timeout=TIMEOUT,
        every=BEAT_SECONDS / 5,
    )
    return now is not None and (now.owner, now.beat) != before
