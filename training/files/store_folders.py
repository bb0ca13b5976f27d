# SPDX-License-Identifier: Apache-2.0
"""Folders in an object store that are complete or absent: their manifest is written last."""

from __future__ import annotations

from pathlib import Path

from tadrib.training.files.containment import require_contained
from tadrib.training.files.machine_lock import machine_lock
from tadrib.training.files.manifest import MANIFEST, Manifest, describe
from tadrib.training.files.store import Store


def upload_folder(store: Store, folder: Path, name: str) -> None:
    """Upload ``folder`` as ``name``, replacing any folder of that name; its own manifest is used if it has one."""
    manifest = Manifest.read(folder) or Manifest(files=describe(folder))
    require_contained(folder, manifest.files)
    # without its manifest the old folder no longer counts, so nobody reads a mixture of old and new files
    store.remove(f"{name}/{MANIFEST}")
    for file in manifest.files:
        store.upload(folder / file, f"{name}/{file}")
    store.write(f"{name}/{MANIFEST}", manifest.to_json().encode())


def download_folder(store: Store, name: str, target: Path) -> str | None:
    """Download the folder ``name`` to ``target``; intact files that are already there are kept.

    Of several workers on a machine, one downloads and the others find the files in place. Returns what is wrong with
    the folder, or None if it is intact. Raises ResourceError if a symbolic link is where a file would be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with machine_lock(target.parent):
        return _fetch(store, name, target)


def _fetch(store: Store, name: str, target: Path) -> str | None:
    text = store.read(f"{name}/{MANIFEST}")
    manifest = Manifest.parse(text) if text is not None else None
    if manifest is None:
        return f"{MANIFEST} is missing or invalid"
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


def find_missing(store: Store, name: str) -> str | None:
    """What is wrong with the folder ``name``, judging by its files' names and sizes; None if nothing is."""
    manifest = Manifest.parse(store.read(f"{name}/{MANIFEST}") or b"")
    sizes = {file.removeprefix(f"{name}/"): size for file, size in store.sizes(name).items()}
    return f"{MANIFEST} is missing or invalid" if manifest is None else manifest.lacking(sizes)


def delete_folder(store: Store, name: str) -> None:
    """Delete a folder of the store, its manifest first, so that a half-deleted folder does not count as one."""
    store.remove(f"{name}/{MANIFEST}")
    for file in store.sizes(name):
        store.remove(file)
