# SPDX-License-Identifier: Apache-2.0
"""Notices: what a user must be told about a run beyond its numbers, such as a value that was replaced or a collapse.

In a notebook or script they are log messages of the ``tadrib`` logger at level WARNING. In a run `forwarded` takes them
from each process to the terminal, ``result.json`` and ``report.html``; a log file alone would hide them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tadrib.training.redaction import redact

logger = logging.getLogger("tadrib")


def _without_credentials(record: logging.LogRecord) -> bool:
    """Whatever is logged here, such as the words of a store that refused, repeats no credential."""
    record.msg, record.args = redact(record.getMessage()), None
    return True


logger.addFilter(_without_credentials)


def warn(text: str) -> None:
    """Tell the user ``text``: the value found, what it means, and the remedy."""
    logger.warning("%s", text)


@contextmanager
def forwarded(receive: Callable[[str], None]) -> Iterator[None]:
    """While inside, hand every warning of the ``tadrib`` logger to ``receive`` as well."""
    handler = _Forwarding(receive)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Forwarding(logging.StreamHandler):
    """Writes to standard error too: a logger with a handler has no longer Python's own way there."""

    def __init__(self, receive: Callable[[str], None]) -> None:
        super().__init__()
        self.setLevel(logging.WARNING)
        self._receive = receive

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        self._receive(record.getMessage())
