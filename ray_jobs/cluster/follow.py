# SPDX-License-Identifier: Apache-2.0
"""Following: streams a job's log until the job has ended, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

import aiohttp

from tadrib.ray_jobs.cluster.jobs import JobDetails, JobServer, has_ended
from tadrib.ray_jobs.runs.contact import Contact, Unreachable
from tadrib.training.waiting import wait_until

_SECONDS_OF_SILENCE = 30.0  # then the connection may be dead without an error, and is opened again
_SECONDS_BETWEEN_CONNECTIONS = 1.0
_SECONDS_UNREACHABLE = 300.0
_WORDS_OF_RAY = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+\s+[A-Z]+ .* -- .*\n", re.MULTILINE)
_BROKEN = (aiohttp.ClientError, RuntimeError, OSError, TimeoutError)


def follow_job(
    server: JobServer,
    job: JobDetails,
    write: Callable[[str], None],
    note: Callable[[str], None],
    timeout: float = _SECONDS_UNREACHABLE,
) -> JobDetails:
    """Pass the job's output to ``write``, each line once, and return the job once it has ended.

    Only the job's status tells that it has ended: the connection for the log may close at any time. ``note`` is called
    when the cluster does not answer. Raises Unreachable after ``timeout`` seconds without an answer.
    """
    log, contact = _Log(job, write), Contact(server.address, str(job.submission_id), note, timeout)

    def follow() -> JobDetails | None:
        """The job once it has ended; None if the connection ended earlier or could not be opened."""
        with suppress(*_BROKEN):
            asyncio.run(_tail(server, log, job))
        try:
            details = server.details(str(job.submission_id))
            if has_ended(details):
                log.take_all(server.log(str(job.submission_id)))
                return details
            contact.answered()
        except Unreachable as error:
            contact.lost(error)
        return None

    ended = wait_until(follow, every=_SECONDS_BETWEEN_CONNECTIONS)
    assert ended is not None  # without a timeout, only the job's end ends the wait
    return ended


async def _tail(server: JobServer, log: _Log, job: JobDetails) -> None:
    """Read the log from one connection, which always begins with its first line."""
    log.rewind()
    pieces = aiter(server.tail(str(job.submission_id)))
    while True:
        try:
            log.take(await asyncio.wait_for(anext(pieces), _SECONDS_OF_SILENCE))
        except StopAsyncIteration:
            return


class _Log:
    """Passes on a text that arrives several times from its beginning, without the lines that Ray adds.

    Ray's heading may appear below the first lines of a quick command: Ray writes it first but flushes it later.
    """

    def __init__(self, job: JobDetails, write: Callable[[str], None]) -> None:
        self._heading = f"Running entrypoint for job {job.submission_id}: {job.entrypoint}\n"
        self._write = write
        self._passed_on = self._position = 0
        self._above: str | None = ""  # the text so far, until the heading is complete

    def rewind(self) -> None:
        self._position = 0
        if self._above is not None:
            self._above = ""

    def take(self, piece: str) -> None:
        """Pass on the new part of the next piece from this connection."""
        if self._above is not None:
            self._above += piece
            self._position = len(self._above)
            above, found, rest = self._above.partition(self._heading)
            if found:
                self._above = None
                self._passed_on = self._position
                self._write(_WORDS_OF_RAY.sub("", above) + rest)
            return
        new = piece[max(0, self._passed_on - self._position) :]
        self._position += len(piece)
        self._passed_on = max(self._passed_on, self._position)
        if new:
            self._write(new)

    def take_all(self, text: str) -> None:
        """Pass on the rest of a log that is complete. Without the heading, the command was never started."""
        self.rewind()
        self.take(text)
        if self._above:
            self._write(self._above)
