# SPDX-License-Identifier: Apache-2.0
"""Phases: what a run is doing outside its optimizer steps, reported to whoever displays it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """The current activity, as a present participle with its object: ``loading the model``.

    If progress is known, ``done`` of ``planned`` items (called ``unit``, such as ``groups``) are finished ``seconds``
    after it began. Otherwise ``planned`` is 0.
    """

    text: str
    done: int = 0
    planned: int = 0
    unit: str = ""
    seconds: float = 0.0


_receivers: list[Callable[[Phase], None]] = []


def enter(phase: Phase) -> None:
    """Report ``phase`` to all receivers; in a notebook or script there are none."""
    for receive in _receivers:
        receive(phase)


@contextmanager
def followed(receive: Callable[[Phase], None]) -> Iterator[None]:
    """Inside this context, pass every phase to ``receive`` as it is entered."""
    _receivers.append(receive)
    try:
        yield
    finally:
        _receivers.remove(receive)
