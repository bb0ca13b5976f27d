# SPDX-License-Identifier: Apache-2.0
"""Inputs: checks that the files and folders a spec names exist on this machine, before anything is started.

URLs and Hub ids are not checked here. A name that may be a path or a Hub id is a path if its folder exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tadrib.ray_jobs.address import named
from tadrib.training.config import JobSpec
from tadrib.training.config.locations import is_url
from tadrib.training.config.strategy import is_json, read_settings
from tadrib.training.errors import Problem, SpecError, nearest
from tadrib.training.model.source import ModelSource, locate

_DATA_FILE = re.compile(r"\.(jsonl|ndjson|json|csv|tsv|parquet)(\.(gz|bz2|xz|zst))?$", re.IGNORECASE)
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(:[\w.\-\[\]%:]+)?")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Missing:
    """A path that does not exist here. It ``may_be_elsewhere`` if its folder does not exist here or is empty: volumes
    of a cluster are mounted only in its pods."""

    problem: Problem
    may_be_elsewhere: bool


def missing_inputs(spec: JobSpec, without: Iterable[str] = ()) -> list[Missing]:
    """Every path in ``spec`` that does not exist on this machine, except those of the keys ``without``."""
    looks = {"model": _model, "rows": _dataset, "settings": _deepspeed}
    found = []
    for key, value, mark in spec.config.paths():
        if key in without or is_url(value):
            continue
        path, look = Path(value).expanduser(), looks[mark.holds]
        found += [Missing(problem, _may_be_elsewhere(path)) for problem in look(spec, key, value, path)]
    return found


def require_inputs(spec: JobSpec, *, has_rows: bool) -> None:
    """Check in seconds what would otherwise fail after Ray has started. ``has_rows``: the run continues with the rows
    that it has prepared.

    Raises SpecError with every path that does not exist on this machine, or if the Hub does not have a model.
    """
    # paths that only workers read are checked on the nodes of a cluster that is joined (driver/preflight.py)
    without = [
        key
        for key, _, mark in spec.config.paths()
        if (mark.reader == "workers" and named()) or (mark.holds == "rows" and has_rows)
    ]
    missing = missing_inputs(spec, without)
    if missing:
        raise SpecError("the spec names files that do not exist", [each.problem for each in missing])
    from tadrib.training.model.hub import require_on_hub

    for source in (ModelSource.start(spec.config), ModelSource.reference(spec.config)):
        if source is not None and source.key not in without:
            require_on_hub(source)


def _model(spec: JobSpec, key: str, name: str, path: Path) -> Iterator[Problem]:
    source = ModelSource.start(spec.config) if key == "model_name" else ModelSource.reference(spec.config)
    try:
        if source is not None:
            locate(source)
    except SpecError as error:
        yield from error.problems


def _dataset(spec: JobSpec, key: str, name: str, path: Path) -> Iterator[Problem]:
    folder, _, split = name.rpartition(":")
    if path.exists() or (folder and split and Path(folder).expanduser().is_dir()):
        return
    close = _nearest(path)
    is_hub_id = _HUB_ID.fullmatch(name) and not _DATA_FILE.search(name)
    if not is_hub_id or close:
        yield Problem(key, f"{name} does not exist.", _remedy(path, close))


def _deepspeed(spec: JobSpec, key: str, name: str, path: Path) -> Iterator[Problem]:
    given = spec.config.deepspeed
    try:
        if given is not None and not is_json(given):
            read_settings(spec.config.strategy, given)
    except SpecError as error:
        yield from error.problems


def _may_be_elsewhere(path: Path) -> bool:
    return (
        path.is_absolute()
        and _nearest(path) is None
        and not (path.parent.is_dir() and any(path.parent.iterdir()))
    )


def _nearest(path: Path) -> str | None:
    return nearest(path.name, _names(path.parent))


def _names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []


def _remedy(path: Path, close: str | None) -> str:
    if close:
        return f"Did you mean {path.parent / close}?"
    if not path.parent.is_dir():
        start = "" if path.is_absolute() else f" in {Path.cwd()}, where relative paths start"
        return f"There is no folder {path.parent}{start}."
    names = _names(path.parent)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{path.parent.absolute()} holds {', '.join(names[:_SHOWN]) or 'nothing'}{more}."
