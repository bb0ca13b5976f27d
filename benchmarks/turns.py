# SPDX-License-Identifier: Apache-2.0
"""Two programs on the same cores by turns: what slows the machine for a while slows both.

Each is stopped, with all its processes, while the other runs, so that neither pays for what the other does.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.processes import end_of, kill, tree

_SECONDS_BETWEEN_LOOKS = 0.1


Span = tuple[float, float]
"""Start and end, in seconds since the epoch."""


@contextmanager
def started(
    command: list[str], log: Path, is_ready: Callable[[], bool], env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """A program that has run until ``is_ready`` and stands still then; it is gone after the block.

    What it prints goes to ``log``. Raises RuntimeError, with the end of that, when it ends before it is ready.
    """
    with log.open("w") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        while not is_ready():
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{end_of(log)}")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        _stop(process.pid)
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{end_of(log)}")
    finally:
        kill(process)


def take_turns(
    first: subprocess.Popen, second: subprocess.Popen, seconds: float, rounds: int
) -> tuple[list[Span], list[Span]]:
    """Let each run ``seconds``, ``rounds`` times, the one that waits standing still; gives the turns of each.

    Ends early when one of them does, for which `started` raises.
    """
    turns: tuple[list[Span], list[Span]] = ([], [])
    for _ in range(rounds):
        for process, spans in zip((first, second), turns, strict=True):
            _go_on(process.pid)
            began = time.time()
            time.sleep(seconds)
            spans.append((began, time.time()))
            if process.poll() is not None:
                return turns
            _stop(process.pid)
    return turns


def seconds_a_step(times: list[tuple[int, float]], span: Span) -> float:
    """Over the steps (number, seconds since the epoch) logged within ``span``, of which there must be two."""
    within = [(step, moment) for step, moment in times if span[0] <= moment <= span[1]]
    (first, began), (last, ended) = within[0], within[-1]
    return (ended - began) / (last - first)


def _stop(pid: int) -> None:
    stopped: set[psutil.Process] = set()
    while more := set(tree(pid)) - stopped:  # one that was not yet stopped may have started another
        for process in more:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        stopped |= more


def _go_on(pid: int) -> None:
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
