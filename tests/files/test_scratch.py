# SPDX-License-Identifier: Apache-2.0
"""The working copy of an object store is in a folder that no other user made, can enter or has linked elsewhere."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from tadrib.training.errors import ResourceError
from tadrib.training.run.directory import RunDirectory

URL = "memory://bucket/runs/run"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder that is used where TADRIB_SCRATCH says nothing; not made yet."""
    monkeypatch.delenv("TADRIB_SCRATCH", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"tadrib-{os.getuid()}"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_it_is_made_for_this_user_alone_whatever_the_umask(folder):
    umask = os.umask(0)
    try:
        run = RunDirectory(URL)
        run.create()
    finally:
        os.umask(umask)
    assert run.path.parent == folder
    assert mode(folder) == 0o700
    assert RunDirectory(URL).path == run.path


def test_one_that_others_could_read_is_closed(folder):
    folder.mkdir(mode=0o755)
    RunDirectory(URL)
    assert mode(folder) == 0o700


def refusal() -> str:
    with pytest.raises(ResourceError, match="Set TADRIB_SCRATCH to a folder of your own") as caught:
        RunDirectory(URL)
    return str(caught.value)


def test_a_link_is_not_followed(folder, tmp_path):
    target = tmp_path / "of-somebody"
    target.mkdir(mode=0o700)
    folder.symlink_to(target)
    assert f"{folder}: is a link to {target}." in refusal()
    assert list(target.iterdir()) == []


def test_a_file_in_its_place_is_refused(folder):
    folder.write_text("")
    assert f"{folder}: cannot be created: File exists." in refusal()


def test_one_that_others_can_write_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o777)
    assert f"{folder}: is writable by others: its mode is 777." in refusal()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_another_user_s_is_refused(folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    assert f"{folder}: belongs to user 65534, but this process runs as user 0." in refusal()


def test_a_scratch_folder_that_the_user_names_is_taken_as_it_is(folder, tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "scratch").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("TADRIB_SCRATCH", str(tmp_path / "scratch"))
    assert RunDirectory(URL).path.parent == tmp_path / "scratch"
    assert not folder.exists()
