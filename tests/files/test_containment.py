# SPDX-License-Identifier: Apache-2.0
"""Names and links that lead out of a folder: nothing outside is read, written or uploaded, and they are named."""

import hashlib
import os
from pathlib import Path

import pytest

from tadrib.training.errors import ResourceError
from tadrib.training.files.manifest import Entry, Manifest, describe
from tadrib.training.files.store import Store
from tadrib.training.files.store_folders import download_folder, upload_folder
from tadrib.training.loop.checkpoint_manager import FolderCheckpointManager, SavedCheckpoint
from tadrib.training.run.checkpoints import newest_whole

EVIL = b"planted"


def entry(content: bytes) -> Entry:
    return Entry(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def victim(tmp_path) -> Path:
    path = tmp_path / "home" / "victim"
    path.parent.mkdir()
    path.write_bytes(b"precious")
    return path


def stored(tmp_path: Path, files: dict[str, bytes]) -> Store:
    """A store whose folder ``data`` claims ``files``, each of which is where its name leads."""
    folder = tmp_path / "bucket" / "data"
    (folder / "sub").mkdir(parents=True)
    manifest = Manifest(files={name: entry(content) for name, content in files.items()})
    for name, content in {**files, "manifest.json": manifest.to_json().encode()}.items():
        path = Path(os.path.normpath(f"{folder}/{name}"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Store(f"file://{tmp_path}/bucket")


@pytest.mark.parametrize(
    "form", ["../../home/victim", "sub/../../../home/victim", "{absolute}", "a//b", "./c"]
)
def test_a_manifest_of_a_store_writes_nothing_outside_the_folder(tmp_path, form):
    victim = tmp_path / "work" / "home" / "victim"
    victim.parent.mkdir(parents=True)
    victim.write_bytes(b"precious")
    name = form.format(absolute=victim)
    store = stored(tmp_path, {name: EVIL})

    assert (
        download_folder(store, "data", tmp_path / "work" / "deep" / "data")
        == f"{name} leads out of the folder"
    )

    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("link", ["rows", "rows.part", "sub", "manifest.json", ""])
def test_nothing_is_downloaded_through_a_symbolic_link(tmp_path, victim, link):
    store = stored(tmp_path, {"rows": EVIL, "sub/more": EVIL})
    target = tmp_path / "work" / "data"
    place = target / link if link != "rows.part" else target / ".rows.part"
    place.parent.mkdir(parents=True)
    place.symlink_to(victim.parent if link in ("sub", "") else victim)
    before = {path: path.read_bytes() for path in victim.parent.iterdir()}

    if link == "rows.part":  # no name of the folder: what is left of a download is replaced
        assert download_folder(store, "data", target) is None
    else:
        with pytest.raises(ResourceError, match=rf"{place}: is a symbolic link to .*home"):
            download_folder(store, "data", target)

    assert {path: path.read_bytes() for path in victim.parent.iterdir()} == before


def checkpoint(folder: Path, step: int, content: bytes = b"weights") -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "weights").write_bytes(content)
    (made / "manifest.json").write_text(Manifest(step=step, files=describe(made)).to_json())
    return made


def link_a_file(made: Path, victim: Path) -> str:
    victim.write_bytes(b"weights")
    (made / "weights").unlink()
    (made / "weights").symlink_to(victim)
    return "checkpoint-20/weights is a symbolic link"


def link_the_folder(made: Path, victim: Path) -> str:
    made.rename(victim.parent / "elsewhere")
    made.symlink_to(victim.parent / "elsewhere")
    return "checkpoint-20 is a symbolic link"


def name_a_file_outside(made: Path, victim: Path) -> str:
    name = f"../../{victim.relative_to(made.parents[1])}"
    (made / "manifest.json").write_text(Manifest(step=20, files={name: entry(b"precious")}).to_json())
    return f"{name} leads out of the folder"


@pytest.mark.parametrize("harm", [link_a_file, link_the_folder, name_a_file_outside])
def test_a_checkpoint_that_leads_elsewhere_is_set_aside_by_name(tmp_path, victim, harm):
    said: list[str] = []
    checkpoint(tmp_path / "run", 10)
    why = harm(checkpoint(tmp_path / "run", 20), victim)

    assert newest_whole(tmp_path / "run", say=said.append) == tmp_path / "run" / "checkpoint-10"

    assert f"is corrupt: {why}. It is set aside" in said[0]
    assert victim.exists()


def test_a_link_is_neither_committed_nor_uploaded(tmp_path, victim):
    aside = tmp_path / "run" / ".saving" / "checkpoint-30"
    aside.mkdir(parents=True)
    (aside / "weights").symlink_to(victim)
    store = Store(f"file://{tmp_path}/bucket")

    with pytest.raises(ResourceError, match=rf"{aside}/weights: is a symbolic link to {victim}"):
        FolderCheckpointManager().commit(
            SavedCheckpoint(aside, tmp_path / "run" / "checkpoint-30", 8, None, None)
        )
    with pytest.raises(ResourceError, match="weights: is a symbolic link"):
        upload_folder(store, aside, "final")

    assert not (tmp_path / "run" / "checkpoint-30").exists()
    assert not (tmp_path / "bucket").exists()
