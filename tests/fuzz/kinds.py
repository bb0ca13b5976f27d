# SPDX-License-Identifier: Apache-2.0
"""Kinds of inputs, each a function of a seeded generator and an empty folder, and their share of all inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.fuzz.files import try_file
from tests.fuzz.models import good_model, try_model
from tests.fuzz.rows import try_rows
from tests.fuzz.run_directories import try_run_directory
from tests.fuzz.specs import try_spec

Try = Callable[[Random, Path], None]

KINDS: dict[str, Try] = {
    "spec": try_spec,
    "rows": try_rows,
    "file": try_file,
    "run": try_run_directory,
    "model": try_model,
}
"""A try returns when the input was accepted, and raises TadribError when it was refused; anything else is a fault."""

PREPARATIONS: dict[str, Callable[[], object]] = {"model": good_model}
"""What each process does before its first input of a kind, outside the time of that input."""

SHARES = {"spec": 0.37, "rows": 0.37, "file": 0.2275, "run": 0.03, "model": 0.0025}
"""Of all inputs, by what one costs: a model takes as long as twenty specs."""
_FEWEST = 5  # of each kind, in a short plan


def plan(inputs: int, first: int) -> list[tuple[str, int]]:
    """(kind, seed) of each input, the kinds by turns so that a short plan has them all."""
    counts = {kind: max(_FEWEST, round(share * inputs)) for kind, share in SHARES.items()}
    cases = [
        ((place + 0.5) / count, kind, first + place)
        for kind, count in counts.items()
        for place in range(count)
    ]
    return [(kind, seed) for _, kind, seed in sorted(cases)][:inputs]
