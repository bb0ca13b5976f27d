# SPDX-License-Identifier: Apache-2.0
"""The training loop of one worker: reads model and data, writes checkpoints and final weights to the run directory."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tadrib.ray_jobs.events import Note, Outcome
from tadrib.ray_jobs.failures import describe
from tadrib.ray_jobs.mirror import Mirror
from tadrib.ray_jobs.streams import send_output_to
from tadrib.ray_jobs.trackers import TENSORBOARD, point_trackers_at, tracked_name
from tadrib.ray_jobs.worker import models
from tadrib.ray_jobs.worker.attempt import ResumePoint, begin, planned_workers
from tadrib.ray_jobs.worker.cores import pin_to_own_cores
from tadrib.ray_jobs.worker.event_relay import relaying
from tadrib.ray_jobs.worker.link import LINK, Link
from tadrib.training.config import JobSpec
from tadrib.training.config.locations import inside
from tadrib.training.files.containment import require_contained
from tadrib.training.files.manifest import seal
from tadrib.training.notices import forwarded
from tadrib.training.phases import Phase, followed
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.fence import Fence
from tadrib.training.run.names import FINAL, worker_log, worker_stacks


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What the driver sends to every worker."""

    spec: JobSpec
    run_path: str
    token: str  # of the launch that holds the run's lock: see `training.run.fence`


def train_loop(config: dict[str, Any]) -> Outcome | None:
    """Run by Ray Train in each worker, with the process group initialised; rank 0 returns the outcome.

    ``config`` holds the WorkerJob as ``job`` and, where the driver cannot call workers, the event relay as ``relay``.
    A failure is posted to the driver and then raised as a TadribError.
    """
    job: WorkerJob = config["job"]
    rank = int(os.environ["RANK"])
    run = RunDirectory(job.run_path)
    run.create()  # with an object store, every machine has a working copy of its own
    log = run.logs / worker_log(rank)
    send_output_to(log)
    link = LINK
    from tadrib.ray_jobs.worker.callbacks import wait_out_preemption

    point_trackers_at(run, job.spec.name)
    fence = Fence(run, job.token)
    exchange = relaying(config["relay"], link) if "relay" in config else nullcontext()
    with (
        exchange,
        Mirror(run, lambda: [] if fence.is_lost() else _worker_files(run, rank)),
        _forwarding_to_driver(link, rank),
    ):
        try:
            outcome = _train(job.spec, run, fence, link, rank)
        except Exception as error:
            failure = describe(error, run, log=log, rank=rank)
            # before the exception: Ray ends the other workers as soon as one has raised
            link.post(failure)
            link.flush()
            # only a failure that is not fatal may be the consequence of a preemption
            if not failure.fatal:
                wait_out_preemption()
            raise failure.error from error
        link.flush()
    return outcome if rank == 0 else None


def _forwarding_to_driver(link: Link, rank: int) -> ExitStack:
    """Within the context, the driver receives rank 0's warnings and phases."""
    stack = ExitStack()
    if rank == 0:
        stack.enter_context(forwarded(lambda text: link.post(Note(text))))
        stack.enter_context(followed(link.post))
    return stack


def _worker_files(run: RunDirectory, rank: int) -> list[Path]:
    """The files that worker ``rank`` writes, other than checkpoints and weights."""
    own = [run.logs / worker_log(rank), run.logs / worker_stacks(rank)]
    return own if rank else [*own, *(run.path / TENSORBOARD).rglob("events.*")]


def _train(spec: JobSpec, run: RunDirectory, fence: Fence, link: Link, rank: int) -> Outcome | None:
    import torch

    # these imports take seconds, during which the driver may still be preparing the data
    from tadrib.ray_jobs.worker.callbacks import Reporter, StopTogether
    from tadrib.ray_jobs.worker.watchdog import Watchdog
    from tadrib.training.data.prepare import PreparedData
    from tadrib.training.loop.checkpoint_manager import FolderCheckpointManager
    from tadrib.training.trainers import create_trainer

    start = begin(run, link, rank)
    if start is None:
        return None
    models.require()
    post = link.post if rank == 0 else lambda event: None  # all ranks are in the same phase
    post(Phase("loading the model"))
    torch.set_num_threads(max(1, int(spec.resources.cpus_per_worker)))
    # a worker with a GPU leaves its cores idle most of the time
    if not spec.resources.gpus_per_worker:
        here, count = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        pin_to_own_cores(here, count, spec.resources.cpus_per_worker)
    config = spec.config.model_copy(update={"output_dir": str(run.checkpoints)})
    trainer = create_trainer(spec.method, config, PreparedData.load(run.data), engine=spec.engine)
    trainer.reference_cache = inside(spec.storage_path, "reference-cache")
    # the global batch stays that of the first launch, so that the loss curve does not depend on the number of workers
    trainer.planned_workers = planned_workers(spec, start.rows_per_step)
    stop = StopTogether(link if rank == 0 else None, lambda: trainer.get_trainer().checkpoint_manager.close())
    trainer.add_callback(stop)
    trainer.add_callback(Watchdog(link, rank, run.logs, factor=spec.hang_factor, seconds=spec.hang_seconds))
    if rank == 0:
        trainer.add_callback(Reporter(link))
    engine = trainer.get_trainer()
    engine.args.run_name = tracked_name(spec.name)
    if run.store is not None:
        from tadrib.training.loop.store_checkpoint_manager import StoreCheckpointManager

        engine.checkpoint_manager = StoreCheckpointManager(run.store, fence.require)
    else:
        engine.checkpoint_manager = FolderCheckpointManager(fence.require)
    return _run(trainer, run, fence, start, stop, post, rank)


def _run(
    trainer: Any,
    run: RunDirectory,
    fence: Fence,
    start: ResumePoint,
    stop: Any,
    post: Callable[[Phase], None],
    rank: int,
) -> Outcome:
    has_held_out = trainer.data.eval is not None
    # a run that continues has the untrained model's metrics in its history
    if has_held_out and start.checkpoint is None:
        post(Phase("evaluating the untrained model"))
        trainer.evaluate()
    post(Phase("training"))
    metrics = trainer.train(resume_from_checkpoint=start.checkpoint)
    engine = trainer.get_trainer()
    # uploads run in the background: a stop or a success is only reported once the last checkpoint is committed
    post(Phase("committing checkpoints"))
    engine.checkpoint_manager.close()
    if stop.stopped:
        return _outcome(engine, metrics, None, stopped=True)
    evaluation = None
    if has_held_out:
        post(Phase("evaluating the trained model"))
        evaluation = trainer.evaluate()
    post(Phase("saving the model"))
    _save(trainer, run, fence, rank)
    post(Phase("finishing"))
    return _outcome(engine, metrics, evaluation, stopped=False)


def _save(trainer: Any, run: RunDirectory, fence: Fence, rank: int) -> None:
    """Write the final weights to a staging folder, then rename it: ``final/`` is complete or absent.

    It exists already if an earlier launch was killed between here and ``result.json``. The fence is checked before
    every change: another launch may have taken the run over meanwhile.
    """
    aside, before = run.path / "final.tmp", run.path / "final.old"
    require_contained(run.path, [aside.name])
    if rank == 0:
        fence.require()
    trainer.save_model(aside)
    if rank == 0:
        seal(aside)
        fence.require()
        # a folder cannot be replaced by one rename; killed between the two, the run has no final/ and continues
        if run.final.exists():
            shutil.rmtree(before, ignore_errors=True)  # left by a launch that was killed right here
            run.final.rename(before)
        aside.rename(run.final)
        shutil.rmtree(before, ignore_errors=True)
        if run.store is not None:
            from tadrib.training.files.store_folders import upload_folder

            fence.require()
            upload_folder(run.store, run.final, FINAL)


def _outcome(trainer: Any, metrics: dict, evaluation: dict | None, *, stopped: bool) -> Outcome:
    """``trainer`` is the inner transformers Trainer; TRL's has no choice of an attention path."""
    state, path = trainer.state, getattr(trainer, "path_choice", None)
    rows = [row for row in state.log_history if "tokens_per_second" in row]
    last = rows[-1] if rows else {}
    # later ones win: the trainer's own summary over the last logged row, our mean speed over both
    metrics = {**last, **metrics, **_speed(rows), "peak_memory_bytes": _peak_memory_bytes()}
    return Outcome(
        stopped=stopped,
        steps_done=state.global_step,
        steps_planned=state.max_steps,
        tokens=int(state.num_input_tokens_seen),
        metrics={key: float(v) for key, v in metrics.items() if key not in ("step", "num_tokens")},
        evaluation=evaluation,
        path=None if path is None else str(path),
    )


def _peak_memory_bytes() -> int:
    """Peak memory of this worker: allocated on its GPU if it has one, else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _speed(rows: list[dict]) -> dict[str, float]:
    """Tokens per second of training alone, over all logged rows. A row has its own speed, and the tokens up to it:
    the mean is weighted by each row's tokens, and leaves evaluation and checkpoints out."""
    totals = [0, *(row["num_tokens"] for row in rows)]
    counts = [after - before for before, after in pairwise(totals)]
    seconds = sum(n / row["tokens_per_second"] for n, row in zip(counts, rows, strict=True) if n)
    return {"tokens_per_second": totals[-1] / seconds} if seconds else {}
