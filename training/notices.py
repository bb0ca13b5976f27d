# SPDX-License-Identifier: Apache-2.0
"""Notices: what a user must know about a run beyond its metrics, such as a replaced value or a collapse.

In a notebook or script they are WARNING messages of the ``tadrib`` logger. In a run, `forwarded` also takes them to the
terminal, ``result.json`` and ``report.html``, because nobody reads a log file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tadrib.training.redaction import redact

logger = logging.getLogger("tadrib")


def _without_credentials(record: logging.LogRecord) -> bool:
    """A logging filter that redacts credentials, such as those quoted in an object store's error."""
    record.msg, record.args = redact(record.getMessage()), None
    return True


logger.addFilter(_without_credentials)


def warn(text: str) -> None:
    """Warn the user: ``text`` gives the value found, what it means, and the remedy."""
    logger.warning("%s", text)


@contextmanager
def forwarded(receive: Callable[[str], None]) -> Iterator[None]:
    """Inside this context, also pass every warning of the ``tadrib`` logger to ``receive``."""
    handler = _Forwarding(receive)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Forwarding(logging.StreamHandler):
    """Also writes to standard error, because a logger with a handler no longer uses Python's last-resort handler."""

    def __init__(self, receive: Callable[[str], None]) -> None:
        super().__init__()
        self.setLevel(logging.WARNING)
        self._receive = receive

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        self._receive(record.getMessage())
