# SPDX-License-Identifier: Apache-2.0
"""Resumption: whether a run has finished, whether a spec can continue it, and how its directory is made ready."""

from __future__ import annotations

import shutil
import uuid

from tadrib.ray_jobs.runs.spec_changes import changes, self_contained
from tadrib.training.config import JobSpec
from tadrib.training.config.strategy import read_settings, zero_stage
from tadrib.training.errors import Problem, ResourceError, SpecError
from tadrib.training.notices import warn
from tadrib.training.run.checkpoints import misnamed
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import CHECKPOINTS, ID, RESULT, STOP, checkpoint_of
from tadrib.training.run.result import Result


def finished(spec: JobSpec, run: RunDirectory) -> Result | None:
    """The result of a run that has finished; None if it is to start or to continue.

    A run has finished if it succeeded and its final weights are intact; without them it continues from its last
    checkpoint.

    Raises SpecError with every difference if the directory holds a run of another spec; ResourceError if the weights of
    a run that succeeded are corrupt and no checkpoint is left to restore them from.
    """
    result = run.read_result()
    done = result is not None and result.status == "succeeded"
    if (done or run.latest_checkpoint()) and (problems := changes(spec, run)):
        raise SpecError(f"{run} holds a run of a different spec", problems)
    if done and (damage := run.final_damage()):
        _require_checkpoint(run, damage)
        done = False
    if not done and (problem := _shard_mismatch(spec, run)):
        raise SpecError(f"{run} cannot be continued with another number of workers", [problem])
    return result if done else None


def begin(spec: JobSpec, run: RunDirectory) -> None:
    """Make the directory ready for this launch. Without a checkpoint, what an earlier launch left is removed, except
    final weights, which are set aside."""
    _warn_about_last_launch(run)
    run.result_file.unlink(missing_ok=True)
    run.files.remove(RESULT)
    run.files.remove(STOP)
    shutil.rmtree(run.path / "final.tmp", ignore_errors=True)
    is_new = run.latest_checkpoint() is None
    if is_new:
        for path, step in misnamed(run.checkpoints).items():
            warn(
                f"{path} is a checkpoint of step {step} by its manifest, but not by its name; the run starts from the"
                f" beginning. To continue from it, stop, rename it to {checkpoint_of(step)} and start again"
            )
        run.metrics.rewind(-1)
        run.discard(run.data)
        if run.has_final():
            warn(
                f"final/ is from an earlier launch without a checkpoint; it is kept as {run.set_aside(run.final)}"
            )
    if is_new or run.files.read(ID) is None:
        run.files.write(ID, uuid.uuid4().hex[:8])
    run.write_spec(self_contained(spec).to_yaml())
    run.push(run.spec_file)


def _warn_about_last_launch(run: RunDirectory) -> None:
    checkpoint, result = run.latest_checkpoint(), run.read_result()
    if checkpoint and not run.spec_file.exists():
        warn("the run's spec.yaml is missing; the run is assumed to have begun with the spec given")
    resumes = f"continues from {checkpoint.name}" if checkpoint else "starts from the beginning"
    if result is None and run.files.read(RESULT) is not None:
        warn(f"result.json is corrupt, so it is unknown how the run ended; it {resumes}")
    elif result is not None and result.status == "succeeded":
        warn(f"{run.final_damage()}, although the run succeeded; it {resumes} to restore its weights")


def _require_checkpoint(run: RunDirectory, damage: str) -> None:
    if run.latest_checkpoint() is None:
        message = f"{damage}, and there is no checkpoint to restore the weights from."
        action = "Restore them from a backup, or train again with --fresh, which keeps the existing files."
        raise ResourceError("the model of this run is corrupt", [Problem(str(run), message, action)])


def set_aside(run: RunDirectory) -> str:
    """Move the contents of the directory to a new one beside it, and return the new location."""
    base, mark, query = run.location.partition("?")
    number = 1
    while (aside := RunDirectory(f"{base}.before-{number}{mark}{query}")).has_anything():
        number += 1
    run.move_to(aside)
    return str(aside)


def _shard_mismatch(spec: JobSpec, run: RunDirectory) -> Problem | None:
    """ZeRO shards the optimizer's states by worker; another number of workers cannot load them."""
    settings = read_settings(spec.config.strategy, spec.config.deepspeed)
    checkpoint = run.latest_checkpoint()
    if checkpoint is None or settings is None or zero_stage(settings) == 0:
        return None
    manifest = run.files.manifest(f"{CHECKPOINTS}/{checkpoint.name}")
    if manifest is None or manifest.num_workers == spec.world_size:
        return None
    return Problem(
        "resources.num_workers",
        f"{spec.world_size}, but {checkpoint.name} holds the optimizer in {manifest.num_workers} shards, one for each"
        " worker that saved it, and DeepSpeed cannot reshard them.",
        f"Set resources.num_workers: {manifest.num_workers} to continue, or start over with --fresh.",
    )
