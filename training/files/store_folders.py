# SPDX-License-Identifier: Apache-2.0
"""Folders in an object store that are there whole or not at all: their manifest is written last."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tadrib.training.files.containment import require_contained
from tadrib.training.files.manifest import MANIFEST, Manifest, describe
from tadrib.training.files.store import Store


def share(store: Store, folder: Path, name: str) -> None:
    """Upload ``folder`` as ``name``, replacing one of that name; with its own manifest if it has one."""
    manifest = Manifest.read(folder) or Manifest(files=describe(folder))
    require_contained(folder, manifest.files)
    store.remove(f"{name}/{MANIFEST}")
    for file in manifest.files:
        store.upload(folder / file, f"{name}/{file}")
    store.write(f"{name}/{MANIFEST}", manifest.to_json().encode())


def bring(store: Store, name: str, target: Path) -> str | None:
    """Copy the folder ``name`` to ``target``; files that are there already and right are kept.

    Of several workers on a machine one downloads and the others find the files there. Returns what is wrong with the
    folder, None when it is whole. Raises ResourceError when a symbolic link stands where a file would be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.parent):
        return _fetch(store, name, target)


def _fetch(store: Store, name: str, target: Path) -> str | None:
    text = store.read(f"{name}/{MANIFEST}")
    manifest = Manifest.parse(text) if text is not None else None
    if manifest is None:
        return f"{MANIFEST} is missing or is none"
    if stray := manifest.stray():
        return stray
    require_contained(target, [MANIFEST, *manifest.files])
    for file in manifest.files:
        if manifest.damage(target, only=file) is not None:
            try:
                store.download(f"{name}/{file}", target / file)
            except FileNotFoundError:
                return f"{file} is missing"
    (target / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest.damage(target)


def lacking(store: Store, name: str) -> str | None:
    """What is wrong with the folder ``name`` by its files' names and sizes; None when nothing is."""
    manifest = Manifest.parse(store.read(f"{name}/{MANIFEST}") or b"")
    sizes = {file.removeprefix(f"{name}/"): size for file, size in store.sizes(name).items()}
    return f"{MANIFEST} is missing or is none" if manifest is None else manifest.lacking(sizes)


def forget(store: Store, name: str) -> None:
    """Delete a folder of the store, its manifest first: half deleted, it is none."""
    store.remove(f"{name}/{MANIFEST}")
    for file in store.sizes(name):
        store.remove(file)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold this machine's lock on ``folder``."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
