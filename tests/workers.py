# SPDX-License-Identifier: Apache-2.0
"""Real data-parallel processes over gloo, for tests that compare numbers of workers."""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.multiprocessing as mp

_SECONDS_FOR_THE_OTHERS = 120


def run_workers(num_workers: int, function: Callable[..., object], *arguments, folder: Path) -> list:
    """``function(*arguments)`` in ``num_workers`` processes of one gloo group; what each returned, by rank.

    ``function`` must be importable and return JSON values. A failing process fails the call with its traceback, or
    where a signal ended it, with where its threads stood.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / f"rendezvous-{port}").unlink(missing_ok=True)
    for rank in range(num_workers):
        _result(folder, rank).unlink(missing_ok=True)
    try:
        mp.spawn(_run, (num_workers, port, function, arguments, str(folder)), nprocs=num_workers)
    except mp.ProcessExitedException as error:
        ends = [f"worker {rank}:\n{_errors(folder, rank).read_text()[-8000:]}" for rank in range(num_workers)]
        raise AssertionError("\n".join([str(error), *ends])) from error
    return [json.loads(_result(folder, rank).read_text()) for rank in range(num_workers)]


def _run(rank: int, num_workers: int, port: int, function, arguments, folder: str) -> None:
    errors = _errors(Path(folder), rank).open("w")
    os.dup2(errors.fileno(), sys.stderr.fileno())
    faulthandler.enable(errors)
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(num_workers),
        LOCAL_WORLD_SIZE=str(num_workers),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    if num_workers > 1:
        # a port that is free when it is looked for may be taken by when it is used; a file is not
        meeting = (Path(folder) / f"rendezvous-{port}").absolute().as_uri()
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num_workers)
    _write(_result(Path(folder), rank), json.dumps(function(*arguments)))
    _wait_for([_result(Path(folder), other) for other in range(num_workers)])
    # in torch 2.13 gloo's destructor, which holds the GIL, may wait for a thread that waits for the GIL, or abort
    os._exit(0)


def _wait_for(results: list[Path]) -> None:
    deadline = time.monotonic() + _SECONDS_FOR_THE_OTHERS
    while not all(result.exists() for result in results) and time.monotonic() < deadline:
        time.sleep(0.05)


def _write(path: Path, text: str) -> None:
    aside = path.with_suffix(".tmp")
    aside.write_text(text)
    aside.replace(path)


def _result(folder: Path, rank: int) -> Path:
    return folder / f"worker-{rank}.json"


def _errors(folder: Path, rank: int) -> Path:
    return folder / f"worker-{rank}.err"
