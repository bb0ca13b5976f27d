# SPDX-License-Identifier: Apache-2.0
"""Phases: what is being done around the optimizer steps, told to whoever shows it, as a run's progress line does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """What goes on now, as a present participle with its object: ``loading the model``.

    Where it can be counted, ``done`` of ``planned`` things of the kind ``unit`` (``groups``), ``seconds`` after it
    began; ``planned`` is 0 where it cannot.
    """

    text: str
    done: int = 0
    planned: int = 0
    unit: str = ""
    seconds: float = 0.0


_receivers: list[Callable[[Phase], None]] = []


def enter(phase: Phase) -> None:
    """Tell those who follow; nobody does in a notebook or script."""
    for receive in _receivers:
        receive(phase)


@contextmanager
def followed(receive: Callable[[Phase], None]) -> Iterator[None]:
    """While inside, hand every phase to ``receive`` as it is entered."""
    _receivers.append(receive)
    try:
        yield
    finally:
        _receivers.remove(receive)
