# SPDX-License-Identifier: Apache-2.0
"""The program of a process that encodes blocks. Started by ``processes.py``.

`PROGRAM DESCRIPTOR` reads pickles from the socket `DESCRIPTOR`: the job with the store's location, then work. It
answers each with the result, or the exception that was raised.
"""

from __future__ import annotations

import pickle
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from tadrib.training.data.blocks.block_store import BlockStore
from tadrib.training.data.blocks.work import BlockWorker


def serve(channel: Connection) -> None:
    """Answer until the other side closes the socket, which raises EOFError or OSError."""
    job, location = pickle.loads(channel.recv_bytes())
    worker = None
    while True:
        work = pickle.loads(channel.recv_bytes())
        try:
            worker = worker or BlockWorker(job, location and BlockStore(location))
            channel.send_bytes(pickle.dumps(worker.do(work)))
        except Exception as error:
            channel.send_bytes(pickle.dumps(error))


if __name__ == "__main__":
    with suppress(EOFError, OSError):
        serve(Connection(int(sys.argv[1])))
