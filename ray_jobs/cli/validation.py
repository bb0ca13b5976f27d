# SPDX-License-Identifier: Apache-2.0
"""`tadrib validate`: checks a spec, and the files on this machine that it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tadrib.ray_jobs.console import print_note, print_spec
from tadrib.ray_jobs.inputs import missing_inputs
from tadrib.training.config import load_spec, resolve
from tadrib.training.errors import SpecError


def validate_here(path: Path, overrides: Sequence[str], *, show: bool) -> None:
    """Print what the spec runs. Raises SpecError with everything that is wrong with it, missing files included."""
    spec = load_spec(path, overrides)
    missing = missing_inputs(spec)
    problems = [each.problem for each in missing if not each.may_be_elsewhere]
    if show or not problems:
        print_spec(path, resolve(spec), show=show)
    for each in missing:
        if each.may_be_elsewhere:
            print_note(
                f"! {each.problem.where}: {each.problem.message} It must exist where the run is executed."
            )
    if problems:
        raise SpecError(str(path), problems)
