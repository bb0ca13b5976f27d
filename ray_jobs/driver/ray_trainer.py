# SPDX-License-Identifier: Apache-2.0
"""Ray trainer: chooses how a run uses Ray Train, through private interfaces or through public ones alone."""

from __future__ import annotations

from tadrib.ray_jobs.compat.ray_interfaces import missing
from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.driver.mailbox import Mailbox


def ray_trainer(display: Display) -> tuple[Mailbox, type]:
    """A mailbox, and the class of the trainer that takes it. For the public trainer, warns of what it lacks."""
    if (name := missing()) is None:
        from tadrib.ray_jobs.compat.ray_train import Training

        return Mailbox(), Training
    from tadrib.ray_jobs.driver.public_training import PublicTraining, RelayMailbox, notice

    display.warn(notice(name))
    return RelayMailbox(), PublicTraining
