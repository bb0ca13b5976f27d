# SPDX-License-Identifier: Apache-2.0
"""Retries: which errors of an object store may pass, and how long an operation is retried."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_exponential
from tenacity.stop import stop_base

T = TypeVar("T")

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0  # seconds; the wait doubles after each failed attempt
_MAX_REFUSALS = 3
"""Consecutive permanent errors after which retrying stops; a single one may come from credentials being renewed."""
# How pyarrow's S3 and GCS clients report errors that a retry cannot fix. HEAD requests only report the HTTP status.
_PERMANENT_ERRORS = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY",
    "INVALID_CLIENT_TOKEN",
    "SIGNATURE_DOES_NOT_MATCH",
    "REQUEST_TIME_TOO_SKEWED",
    "REQUEST_EXPIRED",
    "NO_SUCH_BUCKET",
    "HTTP status 400",
    "HTTP status 401",
    "HTTP status 403",
    "Unauthorized",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
)


def retry(action: Callable[[], T], seconds: float, warn: Callable[[BaseException], None]) -> T:
    """Call ``action`` until it raises no OSError, and return its result. ``warn`` is told of the first error.

    Raises the last error after `_MAX_REFUSALS` permanent errors in a row, or when the next attempt would begin more
    than ``seconds`` after the first; FileNotFoundError, which is an answer, and every other kind of error at once.
    """

    def before_sleep(state: RetryCallState) -> None:
        if state.attempt_number == 1:
            warn(_error(state))

    retrying = Retrying(
        retry=retry_if_exception(lambda e: isinstance(e, OSError) and not isinstance(e, FileNotFoundError)),
        wait=wait_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT),
        stop=_Refusals() | stop_before_delay(seconds),
        before_sleep=before_sleep,
        reraise=True,
    )
    return retrying(action)


class _Refusals(stop_base):
    """Counts consecutive permanent errors: any other error in between (a timeout, a 500) starts the count again."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, state: RetryCallState) -> bool:
        self._count = self._count + 1 if _is_permanent(_error(state)) else 0
        return self._count == _MAX_REFUSALS


def _is_permanent(error: BaseException) -> bool:
    return isinstance(error, PermissionError) or any(text in str(error) for text in _PERMANENT_ERRORS)


def _error(state: RetryCallState) -> BaseException:
    assert state.outcome is not None  # there is one after each attempt
    error = state.outcome.exception()
    assert error is not None
    return error
