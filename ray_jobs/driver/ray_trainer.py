# SPDX-License-Identifier: Apache-2.0
"""Ray Train's trainer of a run, and the mailbox that goes with it: by private interfaces, or by public ones alone."""

from __future__ import annotations

from tadrib.ray_jobs.compat.ray_interfaces import missing
from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.driver.mailbox import Mailbox


def ray_trainer(display: Display) -> tuple[Mailbox, type]:
    """A mailbox, and the class of the trainer that takes it; the public one with a warning of what it lacks."""
    if (name := missing()) is None:
        from tadrib.ray_jobs.compat.ray_train import Training

        return Mailbox(), Training
    from tadrib.ray_jobs.driver.public_training import OfficeMailbox, PublicTraining, notice

    display.warn(notice(name))
    return OfficeMailbox(), PublicTraining
