# SPDX-License-Identifier: Apache-2.0
"""Attempt: how the workers of one attempt agree on where it begins, and have there what they need."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tadrib.ray_jobs.events import Note, Started
from tadrib.ray_jobs.worker.link import Link
from tadrib.training.config import JobSpec
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.files.manifest import MANIFEST, Manifest
from tadrib.training.run.checkpoints import newest_whole
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import CHECKPOINTS, DATA, checkpoint_of, step_of
from tadrib.training.run.trainer_state import history


@dataclass(frozen=True, slots=True)
class Start:
    """Where an attempt begins: a checkpoint folder on this machine, or None, and the global batch it was saved with."""

    checkpoint: str | None
    rows_per_step: int | None


def begin(run: RunDirectory, link: Link, rank: int) -> Start | None:
    """Wait for the data and agree on the checkpoint to continue from; None when another attempt cannot help.

    No worker goes on before the driver knows of this attempt, so that it can tell later failures from those
    of the attempt before.
    """
    if link.wait_to_go() is not None:
        return None
    if rank == 0:
        found = newest_whole(run.checkpoints, run.store, say=lambda text: link.post(Note(text)))
        step = (step_of(found.name) or 0) if found else 0
        link.post(Started(step, int(os.environ["WORLD_SIZE"]), history(found) if found else ()))
    step = link.wait_to_begin()
    _bring_here(run, step)
    if not step:
        return Start(None, None)
    checkpoint = run.checkpoints / checkpoint_of(step)
    manifest = Manifest.read(checkpoint)
    return Start(str(checkpoint), manifest.rows_per_step if manifest else None)


def _bring_here(run: RunDirectory, step: int) -> None:
    """What this worker reads, from the run's store to its machine.

    On a disk it is there, and one worker of each machine makes sure that the rows are still what was prepared.
    """
    if run.store is None:
        if os.environ["LOCAL_RANK"] == "0" and (damage := run.data_damage()):
            again = "Start the run again, which prepares them anew."
            raise ResourceError(
                "the prepared rows are damaged", [Problem(f"{run.data}", f"{damage}.", again)]
            )
        return
    from tadrib.training.files.store_folders import download_folder

    wanted = [(DATA, run.data)]
    if step:
        name = checkpoint_of(step)
        wanted.append((f"{CHECKPOINTS}/{name}", run.checkpoints / name))
    for name, target in wanted:
        damage = download_folder(run.store, name, target)
        if damage is not None:
            run.store.remove(
                f"{name}/{MANIFEST}"
            )  # the next start prepares the rows anew, or takes an older checkpoint
            problem = Problem(
                f"{run}/{name}", f"did not arrive here whole: {damage}.", "Start the run again."
            )
            raise ResourceError("the object store holds something damaged", [problem])


def planned_workers(spec: JobSpec, rows_per_step: int | None) -> int:
    """Workers that the global batch is made for: those of the first start, whatever the number now."""
    from tadrib.training.loop.arguments import rows_per_step as rows

    return rows_per_step // rows(spec.config, 1) if rows_per_step else spec.world_size
