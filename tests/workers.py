# SPDX-License-Identifier: Apache-2.0
"""Real data-parallel processes over gloo, for tests that compare numbers of workers."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch
import torch.multiprocessing as mp


def run_workers(num_workers: int, function: Callable[..., object], *arguments, folder: Path) -> list:
    """``function(*arguments)`` in ``num_workers`` processes of one gloo group; what each returned, by rank.

    ``function`` must be importable and return JSON values. A failing process fails the call with its traceback.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_run, (num_workers, port, function, arguments, str(folder)), nprocs=num_workers)
    return [json.loads((folder / f"worker-{rank}.json").read_text()) for rank in range(num_workers)]


def _run(rank: int, num_workers: int, port: int, function, arguments, folder: str) -> None:
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
        torch.distributed.init_process_group("gloo")
    result = function(*arguments)
    (Path(folder) / f"worker-{rank}.json").write_text(json.dumps(result))
    if num_workers > 1:
        torch.distributed.destroy_process_group()
