# SPDX-License-Identifier: Apache-2.0
"""Starts of a run: whether anything is left to do in its directory, and whether the spec is the same."""

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
    """The result of a run that is done; None when it is to start or to continue.

    Success takes the weights as well as the result: without them the run goes on from its last checkpoint.

    Raises SpecError with every difference when the directory holds another spec's checkpoints or result, ResourceError
    when the weights of a run that succeeded are damaged and no checkpoint is left to make them from.
    """
    result = run.read_result()
    done = result is not None and result.status == "succeeded"
    if (done or run.latest_checkpoint()) and (problems := changes(spec, run)):
        raise SpecError(f"{run} holds a run of a different spec", problems)
    if done and (damage := run.final_damage()):
        _require_checkpoint(run, damage)
        done = False
    if not done and (problem := _shards_that_do_not_fit(spec, run)):
        raise SpecError(f"{run} cannot be continued with other workers", [problem])
    return result if done else None


def begin(spec: JobSpec, run: RunDirectory) -> None:
    """Make the directory ready for this start; what an earlier one left without a checkpoint is removed, but for final
    weights, which are set aside."""
    _tell_of_the_last_start(run)
    run.result_file.unlink(missing_ok=True)
    run.files.remove(RESULT)
    run.files.remove(STOP)
    shutil.rmtree(run.path / "final.tmp", ignore_errors=True)
    is_new = run.latest_checkpoint() is None
    if is_new:
        for path, step in misnamed(run.checkpoints).items():
            warn(
                f"{path} is a checkpoint of step {step} by its manifest, but not by its name; the run begins anew. To"
                f" continue from it, stop, rename it to {checkpoint_of(step)} and start again"
            )
        run.metrics.rewind(-1)
        run.discard(run.data)
        if run.has_final():
            warn(
                f"final/ is of an earlier start that left no checkpoint; it is kept as {run.set_aside(run.final)}"
            )
    if is_new or run.files.read(ID) is None:
        run.files.write(ID, uuid.uuid4().hex[:8])
    run.write_spec(self_contained(spec).to_yaml())
    run.push(run.spec_file)


def _tell_of_the_last_start(run: RunDirectory) -> None:
    checkpoint, result = run.latest_checkpoint(), run.read_result()
    if checkpoint and not run.spec_file.exists():
        warn("spec.yaml of the run is missing; the spec given is taken for the one that it began with")
    goes_on = f"goes on from {checkpoint.name}" if checkpoint else "begins anew"
    if result is None and run.files.read(RESULT) is not None:
        warn(f"result.json is damaged, so how the run ended is not known; it {goes_on}")
    elif result is not None and result.status == "succeeded":
        warn(f"{run.final_damage()}, although the run had succeeded; it {goes_on} to make its weights again")


def _require_checkpoint(run: RunDirectory, damage: str) -> None:
    if run.latest_checkpoint() is None:
        message = f"{damage}, and there is no checkpoint to make the weights again from."
        action = "Put them back from a copy, or train again with --fresh, which keeps what is there."
        raise ResourceError("the model of this run is damaged", [Problem(str(run), message, action)])


def set_aside(run: RunDirectory) -> str:
    """Move what the directory holds beside it, for a start from nothing; returns where to."""
    base, mark, query = run.location.partition("?")
    number = 1
    while (aside := RunDirectory(f"{base}.before-{number}{mark}{query}")).has_anything():
        number += 1
    run.move_to(aside)
    return str(aside)


def _shards_that_do_not_fit(spec: JobSpec, run: RunDirectory) -> Problem | None:
    """ZeRO cuts the optimizer's states into one shard per worker; another number of workers cannot read them."""
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
        " worker that saved it, and DeepSpeed cannot cut them anew.",
        f"Set resources.num_workers: {manifest.num_workers} to continue, or start over with --fresh.",
    )
