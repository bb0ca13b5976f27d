# SPDX-License-Identifier: Apache-2.0
"""The train loop of one worker: model and data in, checkpoints and final weights in the run directory out."""

from __future__ import annotations

import os
import resource
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ray_jobs.events import Outcome, Phase, Started
from ray_jobs.failures import describe
from ray_jobs.mailbox import Link
from ray_jobs.streams import send_output_to
from training.config import JobSpec
from training.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What the driver hands to every worker; ``mailbox`` is the actor's handle."""

    spec: JobSpec
    run_path: str
    mailbox: Any


def train_loop(config: dict[str, WorkerJob]) -> Outcome | None:
    """Run by Ray Train in each worker, with the process group up; rank 0 returns the outcome.

    Raises the TadribError that the failure amounts to, after posting it.
    """
    job, rank = config["job"], int(os.environ["RANK"])
    run = RunDirectory(job.run_path)
    log = run.logs / f"worker-{rank}.log"
    send_output_to(log)
    link = Link(job.mailbox)
    try:
        outcome = _train(job.spec, run, link, rank)
    except Exception as error:
        failure = describe(error, run, who=f"worker {rank}", log=log)
        link.post(failure)
        link.flush()
        raise failure.error from error
    link.flush()
    return outcome if rank == 0 else None


def _train(spec: JobSpec, run: RunDirectory, link: Link, rank: int) -> Outcome:
    import torch

    # these take seconds, in which the driver may still be preparing the data
    from ray_jobs.callbacks import Reporter, StopTogether
    from training.data.prepare import PreparedData
    from training.trainers import create_trainer

    checkpoint = _begin(run, link, rank)
    post = link.post if rank == 0 else lambda event: None
    post(Phase("loading the model"))
    torch.set_num_threads(max(1, int(spec.resources.cpus_per_worker)))
    data = PreparedData.load(run.data)
    trainer = create_trainer(spec.method, spec.config, data, engine=spec.engine)
    trainer.reference_cache = run.path.parent / "reference-cache"
    stop = StopTogether(link if rank == 0 else None)
    trainer.add_callback(stop)
    if rank == 0:
        trainer.add_callback(Reporter(link))
    if data.eval is not None and checkpoint is None:
        post(Phase("evaluating the untrained model"))
        trainer.evaluate()
    post(Phase("training"))
    metrics = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    assert trainer.trainer is not None
    if stop.stopped:
        return _outcome(trainer.trainer, metrics, None, stopped=True)
    evaluation = None
    if data.eval is not None:
        post(Phase("evaluating the trained model"))
        evaluation = trainer.evaluate()
    post(Phase("saving the model"))
    _save(trainer, run, rank)
    post(Phase("finishing"))
    return _outcome(trainer.trainer, metrics, evaluation, stopped=False)


def _begin(run: RunDirectory, link: Link, rank: int) -> Path | None:
    """Wait for the data and agree on the checkpoint to continue from.

    No worker goes on before the driver knows of this attempt, so that it can tell later failures from those
    of the attempt before.
    """
    from ray.train.collective import broadcast_from_rank_zero

    checkpoint = None
    if rank == 0:
        link.wait_to_go()
        checkpoint = run.latest_checkpoint()
        link.post(Started(int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0))
        link.flush()
    return broadcast_from_rank_zero(checkpoint)


def _save(trainer, run: RunDirectory, rank: int) -> None:
    """Write the final weights aside, then rename: ``final/`` is whole or not there.

    One is there already when an earlier start got this far and no further.
    """
    aside, before = run.path / "final.tmp", run.path / "final.old"
    trainer.save_model(aside)
    if rank == 0:
        if run.final.exists():
            run.final.rename(before)
        aside.rename(run.final)
        shutil.rmtree(before, ignore_errors=True)


def _outcome(trainer, metrics: dict, evaluation: dict | None, *, stopped: bool) -> Outcome:
    """``trainer`` is the transformers Trainer inside; TRL's has chosen no path."""
    state, path = trainer.state, getattr(trainer, "path_choice", None)
    rows = [row for row in state.log_history if "tokens_per_second" in row]
    last = rows[-1] if rows else {}
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
    """Most memory this worker held at once: on its GPU where it has one, else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _speed(rows: list[dict]) -> dict[str, float]:
    """Tokens per second of training alone, over all rows: each has its own speed, and the tokens up to it."""
    totals = [0, *(row["num_tokens"] for row in rows)]
    counts = [after - before for before, after in pairwise(totals)]
    seconds = sum(n / row["tokens_per_second"] for n, row in zip(counts, rows, strict=True) if n)
    return {"tokens_per_second": totals[-1] / seconds} if seconds else {}
