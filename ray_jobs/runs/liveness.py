# SPDX-License-Identifier: Apache-2.0
"""Liveness: whether the driver that holds a run still runs. The lock and the status of a run both ask here."""

from __future__ import annotations

from tadrib.training.run.files import RunFiles
from tadrib.training.run.holder import Holder
from tadrib.training.waiting import wait_until

BEAT_SECONDS = 5.0
"""Between two heartbeats of a driver."""
PATIENCE = 2.6 * BEAT_SECONDS
"""For the next heartbeat of a driver on another machine, by this machine's clock alone."""


def is_alive(run: RunFiles, held: Holder) -> bool:
    """Whether the holder still runs.

    A process of this machine is looked up. The driver of another machine lives when its heartbeat changes within
    `PATIENCE` seconds; what time the heartbeat states says nothing, as clocks differ. So this takes until the next
    heartbeat where there is one, and all those seconds where there is none.
    """
    if held.is_here:
        return held.is_running
    before = (held.owner, held.beat)
    now = wait_until(
        run.holder,
        lambda now: now is None or (now.owner, now.beat) != before,
        timeout=PATIENCE,
        every=BEAT_SECONDS / 5,
    )
    return now is not None and (now.owner, now.beat) != before
