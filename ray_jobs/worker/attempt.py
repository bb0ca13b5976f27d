# SPDX-License-Identifier: Apache-2.0
"""Attempt: how the workers of an attempt agree on the checkpoint to continue from, and get the files they need."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tadrib.ray_jobs.events import AttemptStarted, Note
from tadrib.ray_jobs.worker.link import Link
from tadrib.training.config import JobSpec
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.files.manifest import MANIFEST, Manifest
from tadrib.training.run.checkpoints import newest_whole
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import CHECKPOINTS, DATA, checkpoint_of, step_of
from tadrib.training.run.trainer_state import history


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The checkpoint folder on this machine that an attempt continues from, and the global batch size, in rows, that it
    was saved with; both None for an attempt that begins at step 0."""

    checkpoint: str | None
    rows_per_step: int | None


def begin(run: RunDirectory, link: Link, rank: int) -> ResumePoint | None:
    """Wait for the data and agree on the checkpoint to continue from; None if another attempt cannot help.

    No worker continues before the driver knows of this attempt: it could not tell this attempt's failures from those
    of the previous one. `ray_jobs.worker.link` describes the protocol.
    """
    if link.wait_for_data() is not None:
        return None
    # step 2: only rank 0 chooses, as ranks on several machines could see different files
    if rank == 0:
        found = newest_whole(run.checkpoints, run.store, say=lambda text: link.post(Note(text)))
        step = (step_of(found.name) or 0) if found else 0
        link.post(AttemptStarted(step, int(os.environ["WORLD_SIZE"]), history(found) if found else ()))
    # step 3: the driver has rewound metrics.jsonl to that step
    step = link.wait_for_start_step()
    _download_inputs(run, step)
    if not step:
        return ResumePoint(None, None)
    checkpoint = run.checkpoints / checkpoint_of(step)
    manifest = Manifest.read(checkpoint)
    return ResumePoint(str(checkpoint), manifest.rows_per_step if manifest else None)


def _download_inputs(run: RunDirectory, step: int) -> None:
    """Download the rows and the checkpoint of ``step`` from the run's object store.

    A run on a file system needs no download; one worker of each machine verifies the rows there. Raises ResourceError
    if something is corrupt.
    """
    if run.store is None:
        if os.environ["LOCAL_RANK"] == "0" and (damage := run.data_damage()):
            again = "Start the run again: it then prepares the rows again."
            raise ResourceError(
                "the prepared rows are corrupt", [Problem(f"{run.data}", f"{damage}.", again)]
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
            # without its manifest it does not count: the next launch prepares the rows or takes an older checkpoint
            run.store.remove(f"{name}/{MANIFEST}")
            problem = Problem(f"{run}/{name}", f"is corrupt: {damage}.", "Start the run again.")
            raise ResourceError("a file in the object store is corrupt", [problem])


def planned_workers(spec: JobSpec, rows_per_step: int | None) -> int:
    """The number of workers that the global batch size was chosen for: that of the first launch, whatever it is now."""
    from tadrib.training.loop.arguments import rows_per_step as rows

    return rows_per_step // rows(spec.config, 1) if rows_per_step else spec.world_size
