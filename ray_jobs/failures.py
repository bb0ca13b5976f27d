# SPDX-License-Identifier: Apache-2.0
"""Failures: turns an exception into an error that a user can act on."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from tadrib.ray_jobs import disk
from tadrib.ray_jobs.events import Failure, WorkersFailed
from tadrib.training.errors import Problem, ResourceError, TadribError, TrainingError
from tadrib.training.redaction import redact
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import DRIVER_LOG, worker_log
from tadrib.training.run.result import ErrorReport

_SOURCE_ROOT = Path(__file__).parent.parent
HUNG = "Hung"
"""The kind of failure that a watchdog posts."""
_MEMORY_TEXTS = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA out of memory",
    "due to the node running low on memory",  # Ray's memory monitor, which kills workers before the kernel does
)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})


def describe(error: BaseException, run: RunDirectory, *, log: Path, rank: int | None = None) -> Failure:
    """The failure of worker ``rank``, or of the driver. Prints the traceback, without credentials, to ``log``.

    A full disk and memory that ran out become ResourceErrors, a TadribError stays as it is, and anything else becomes
    a TrainingError of three lines. Only that last kind is not fatal: another attempt may succeed.
    """
    sys.stderr.write(redact("".join(traceback.format_exception(error))))
    message = str(error) if isinstance(error, TadribError) else first_line(error)
    kind, place = type(error).__name__, place_of(error)
    who = "" if rank is None else f"worker {rank}"
    known: TadribError
    fatal = True
    if disk.is_full(error) and not isinstance(error, TadribError):
        known = disk.full(run)
    elif is_out_of_memory(error):
        known = out_of_memory(message)
    elif isinstance(error, TadribError):
        known = error
    else:
        known = located_error(f"{kind}{f' on {who}' if who else ''}: {message}", place, log)
        fatal = False
    return Failure(known, kind, message, place, str(log), fatal, rank)


def worker_failure(failed: WorkersFailed, run: RunDirectory, at: str) -> Failure:
    """Why training failed, ``at`` some step: the first of these that applies, each of which explains the later ones.

    1. A fatal failure, or a hang, that a worker posted.
    2. Workers that Ray killed for memory.
    3. A worker whose process died; the others only report that they lost their connection to it.
    4. The failure that a worker posted first.
    5. Ray's own error.
    """
    first, error = failed.first, failed.error
    if first is not None and (first.fatal or first.kind == HUNG):
        return first
    causes: dict[int, Any] = getattr(error, "worker_failures", {})
    for cause in (*causes.values(), getattr(error, "controller_failure", error)):
        if is_out_of_memory(cause):
            message, driver_log = _words_of_memory(cause), str(run.logs / DRIVER_LOG)
            return Failure(out_of_memory(message), type(cause).__name__, message, at, driver_log, fatal=True)
    dead = [rank for rank, cause in sorted(causes.items()) if not isinstance(cause, TadribError)]
    if dead:
        log = run.logs / worker_log(dead[0])
        message = f"the process of worker {dead[0]} died; the kernel kills processes when memory runs out"
        return Failure(located_error(message, at, log), "WorkerDied", message, at, str(log))
    if first is not None:
        return first
    if causes:
        rank, cause = min(causes.items())
        log = run.logs / worker_log(rank)
        return Failure(cause, type(cause).__name__, str(cause), at, str(log))
    log = run.logs / DRIVER_LOG
    cause = getattr(error, "controller_failure", error)
    kind, message = type(cause).__name__, first_line(cause)
    return Failure(located_error(f"{kind}: {message}", at, log), kind, message, at, str(log))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or the machine ran out of memory. On CPU torch raises a plain RuntimeError, so its text decides."""
    return type(error).__name__ == "OutOfMemoryError" or any(text in str(error) for text in _MEMORY_TEXTS)


def _words_of_memory(error: BaseException) -> str:
    """The line of the message that reports it; other processes' output may come before it."""
    lines = [line for line in redact(str(error)).splitlines() if any(text in line for text in _MEMORY_TEXTS)]
    return lines[0].strip() if lines else first_line(error)


def out_of_memory(message: str) -> ResourceError:
    """The error for a batch that does not fit into memory, with the settings that reduce it, cheapest first."""
    action = (
        "Lower per_device_train_batch_size (and raise gradient_accumulation_steps to match, for the same steps) or set "
        "max_tokens_per_batch; keep gradient_checkpointing: true; lower max_length or max_seq_length; train with "
        "use_lora: true, or load_in_4bit: true (QLoRA)."
    )
    return ResourceError("out of memory", [Problem("worker", message.rstrip(".") + ".", action)])


def hang_failure(posted: list[Failure], workers: int) -> Failure:
    """The failure of an attempt whose step hung. Ranks that posted nothing are frozen; the others wait for them."""
    silent = sorted(set(range(workers)) - {failure.rank for failure in posted})
    first = posted[0]
    if not silent:
        return first
    names = ", ".join(str(rank) for rank in silent)
    message = f"worker{'s' if len(silent) > 1 else ''} {names} did not respond; {first.message}"
    return replace(first, error=located_error(f"hung: {message}", first.place, first.log), message=message)


def located_error(what: str, place: str, log: Path | str) -> TrainingError:
    """A TrainingError of three lines: what happened, where in the code, and where the full log is."""
    return TrainingError(f"{what}\n  at {place}\n  full log: {log}")


def report(failure: Failure) -> ErrorReport:
    return ErrorReport(kind=failure.kind, message=failure.message, place=failure.place, log=failure.log)


def first_line(error: BaseException) -> str:
    """The first non-empty line of the exception's text, without credentials, truncated to 300 characters."""
    lines = [line.strip() for line in redact(str(error)).splitlines() if line.strip()]
    line = lines[0] if lines else "(no message)"
    return line if len(line) <= 300 else f"{line[:297]}..."


def place_of(error: BaseException) -> str:
    """``file:line in function`` of the innermost frame in our own or the user's code, else in any code."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    own = [frame for frame in frames if _is_own(frame.filename)]
    frame = (own or frames)[-1]
    path = Path(frame.filename)
    shown = path.relative_to(_SOURCE_ROOT) if path.is_relative_to(_SOURCE_ROOT) else path
    return f"{shown}:{frame.lineno} in {frame.name}"


def _is_own(filename: str) -> bool:
    path = Path(filename)
    if path.is_relative_to(_SOURCE_ROOT / "training") or path.is_relative_to(_SOURCE_ROOT / "ray_jobs"):
        return True
    return path.is_file() and not filename.startswith(_LIBRARIES)
