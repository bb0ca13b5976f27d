# SPDX-License-Identifier: Apache-2.0
"""Encode the blocks of a dataset on this machine: a few in this process, more in one process for each core."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from multiprocessing import Pipe
from queue import SimpleQueue
from typing import Any

from tadrib.training.data.blocks.block_store import BlockStore, StoredBlock
from tadrib.training.data.blocks.encoding_job import EncodingJob
from tadrib.training.data.blocks.work import BlockWorker, Engine, Work, work_on
from tadrib.training.errors import ResourceError

_OWN_BLOCKS = 4
"""Up to so many blocks are encoded sooner here than other processes start."""


def encode_here(
    name: str,
    job: EncodingJob,
    store: BlockStore | None,
    elsewhere: Callable[[], Engine | None] = lambda: None,
) -> Iterator[StoredBlock]:
    """All blocks of the dataset ``name``, in its order. What is not in ``store`` is encoded; if that is more than a few
    blocks, by the engine that ``elsewhere`` returns, or else by this machine's processes.

    Raises what `work_on` and `BlockWorker` do, ResourceError if a process ends before its work.
    """
    found = work_on(name, job, store)
    first = list(_few(found))
    engine = elsewhere() if _left(first) > _OWN_BLOCKS else None
    if engine is not None:
        yield from engine(name, job, store)
        return
    cores = len(os.sched_getaffinity(0))
    if _left(first) > _OWN_BLOCKS and cores > 1:
        with _Processes(job, store, cores) as processes:
            yield from processes.do(chain(first, found))
        return
    worker = None
    for each in chain(first, found):
        if isinstance(each, Work):
            worker = worker or BlockWorker(job, store)
            each = worker.do(each)
        yield each


def _few(blocks: Iterable[Work | StoredBlock]) -> Iterator[Work | StoredBlock]:
    """The first of ``blocks``, up to the one that makes them too many to do here."""
    left = 0
    for each in blocks:
        yield each
        left += isinstance(each, Work)
        if left > _OWN_BLOCKS:
            return


def _left(blocks: Iterable[Work | StoredBlock]) -> int:
    return sum(isinstance(each, Work) for each in blocks)


class _Processes:
    """``count`` processes that encode blocks of ``job``, each served by a thread of this one."""

    def __init__(self, job: EncodingJob, store: BlockStore | None, count: int) -> None:
        task = pickle.dumps((job, store and store.location))
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        self._count = count
        self._stack = ExitStack()
        self._threads = self._stack.enter_context(ThreadPoolExecutor(count))
        for _ in range(count):
            process = _Process(task)
            self._stack.callback(process.close)
            self._idle.put(process)

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def do(self, blocks: Iterable[Work | StoredBlock]) -> Iterator[StoredBlock]:
        """The results in the order of ``blocks``, of which no more are taken than are being worked on."""
        pending: deque[Future[StoredBlock]] = deque()
        for each in blocks:
            pending.append(self._threads.submit(self._done, each))
            if len(pending) > self._count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _done(self, each: Work | StoredBlock) -> StoredBlock:
        if isinstance(each, StoredBlock):
            return each
        process = self._idle.get()
        try:
            return process.do(each)
        finally:
            self._idle.put(process)


class _Process:
    """A process of `encoder_process`."""

    def __init__(self, task: bytes) -> None:
        self._channel, theirs = Pipe()
        command = [sys.executable, "-P", "-m", "tadrib.training.data.blocks.encoder_process"]
        # processes are as many as cores, so each tokenizes with one thread
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        environment = {**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
        with theirs:
            # a new session: Ctrl-C must reach only us
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._channel.send_bytes(task)

    def do(self, work: Work) -> StoredBlock:
        try:
            self._channel.send_bytes(pickle.dumps(work))
            answer: Any = pickle.loads(self._channel.recv_bytes())
        except (EOFError, OSError) as error:
            code = self._process.wait()
            message = (
                f"A process that prepares rows ended (exit code {code}). If the machine was short of memory, close what"
                " else uses it; the same command goes on with the rows that are missing."
            )
            raise ResourceError(message) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self._channel.close()
        self._process.kill()
        self._process.wait()
