# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in a folder: whole or not at all, verified before use, deleted only for newer ones."""

import os
import shutil

import pytest

from tadrib.training.files.manifest import Manifest, describe, seal
from tadrib.training.loop.checkpoint_manager import FolderCheckpointManager, SavedCheckpoint
from tadrib.training.run.checkpoint_folders import committed, surplus
from tadrib.training.run.checkpoints import misnamed, newest_whole
from tadrib.training.run.names import step_of


def save(folder, step: int, limit: int | None = None, best: int | None = None) -> None:
    aside = folder / ".saving" / f"checkpoint-{step}"
    (aside / "global_step").mkdir(parents=True)
    (aside / "weights.safetensors").write_bytes(os.urandom(1000))
    (aside / "global_step" / "shard.pt").write_bytes(os.urandom(500))
    FolderCheckpointManager().commit(
        SavedCheckpoint(aside, folder / f"checkpoint-{step}", rows_per_step=8, limit=limit, best=best)
    )


def flip_a_byte(checkpoint) -> None:
    content = bytearray((checkpoint / "weights.safetensors").read_bytes())
    content[500] ^= 1
    (checkpoint / "weights.safetensors").write_bytes(content)


def truncate(checkpoint) -> None:
    os.truncate(checkpoint / "weights.safetensors", 999)


def remove_a_file(checkpoint) -> None:
    (checkpoint / "global_step" / "shard.pt").unlink()


def tear_the_manifest(checkpoint) -> None:
    os.truncate(checkpoint / "manifest.json", 40)


DAMAGE = {
    flip_a_byte: "weights.safetensors has been altered: its SHA-256 differs from the manifest",
    truncate: "weights.safetensors has 999 of 1,000 bytes",
    remove_a_file: "global_step/shard.pt is missing",
    tear_the_manifest: "manifest.json is invalid",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(tmp_path, damage):
    said: list[str] = []
    save(tmp_path, 10)
    save(tmp_path, 20)
    damage(tmp_path / "checkpoint-20")

    found = newest_whole(tmp_path, say=said.append)

    assert found == tmp_path / "checkpoint-10"
    assert len(said) == 1
    assert f"checkpoint-20 is corrupt: {DAMAGE[damage]}." in said[0]
    assert (tmp_path / "checkpoint-20.damaged-1").is_dir()


def test_a_whole_checkpoint_is_used_without_a_word_and_says_what_it_was_made_with(tmp_path):
    said: list[str] = []
    save(tmp_path, 9)
    save(tmp_path, 10)

    assert newest_whole(tmp_path, say=said.append) == tmp_path / "checkpoint-10"
    assert said == []
    manifest = Manifest.read(tmp_path / "checkpoint-10")
    assert (manifest.step, manifest.rows_per_step, manifest.num_workers) == (10, 8, 1)
    assert set(manifest.files) == {"weights.safetensors", "global_step/shard.pt"}


def test_a_renamed_checkpoint_is_used_under_its_own_step(tmp_path):
    said: list[str] = []
    save(tmp_path, 10)
    save(tmp_path, 20)
    (tmp_path / "checkpoint-20").rename(tmp_path / "checkpoint-99")

    assert newest_whole(tmp_path, say=said.append) == tmp_path / "checkpoint-20"
    assert said == [
        f"{tmp_path}/checkpoint-99 is from step 20 according to its manifest; it is renamed to checkpoint-20"
    ]


def test_a_copy_under_another_step_is_set_aside(tmp_path):
    said: list[str] = []
    save(tmp_path, 10)
    shutil.copytree(tmp_path / "checkpoint-10", tmp_path / "checkpoint-99")

    assert newest_whole(tmp_path, say=said.append) == tmp_path / "checkpoint-10"
    assert said == [
        f"{tmp_path}/checkpoint-99 is from step 10 according to its manifest; it is renamed to checkpoint-99.before-1"
    ]


@pytest.mark.parametrize(
    "name", ["checkpoint-10.bak", "checkpoint-abc", "checkpoint-010", "checkpoint-١٠", "checkpoint-10 (copy)"]
)
def test_other_names_are_no_checkpoints_but_are_known_by_their_manifest(tmp_path, name):
    save(tmp_path, 10)
    (tmp_path / "checkpoint-10").rename(tmp_path / name)

    assert committed(tmp_path) == {}
    assert newest_whole(tmp_path) is None
    assert misnamed(tmp_path) == {tmp_path / name: 10}


def test_what_was_not_committed_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoint-30").mkdir()
    (tmp_path / ".saving" / "checkpoint-40").mkdir(parents=True)

    assert newest_whole(tmp_path) is None
    assert committed(tmp_path) == {}


def test_a_step_saved_again_replaces_its_checkpoint(tmp_path):
    save(tmp_path, 10)
    before = (tmp_path / "checkpoint-10" / "weights.safetensors").read_bytes()
    save(tmp_path, 10)

    assert newest_whole(tmp_path) == tmp_path / "checkpoint-10"
    assert (tmp_path / "checkpoint-10" / "weights.safetensors").read_bytes() != before
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-10"]


@pytest.mark.parametrize(
    ("steps", "limit", "best", "gone"),
    [
        ([10, 20, 30], None, None, []),
        ([10, 20, 30], 3, None, []),
        ([10, 20, 30], 2, None, [10]),
        ([10, 20, 30], 2, 10, [20]),
        ([10, 20, 30], 1, 10, [20]),
        ([10, 20, 30], 1, 30, [10, 20]),
        ([9, 10, 100], 1, None, [9, 10]),
        ([20, 30], 1, 10, [20]),
    ],
)
def test_the_newest_and_the_best_are_never_deleted(steps, limit, best, gone):
    assert surplus(steps, limit, best) == gone


def test_only_as_many_as_the_limit_stay(tmp_path):
    for step in (10, 20, 30, 40):
        save(tmp_path, step, limit=2, best=10)

    assert sorted(committed(tmp_path)) == [10, 40]


@pytest.mark.parametrize(
    ("state", "said_of_it"),
    [
        (b'{"global_step": 20, "log_his', "trainer_state.json is not JSON"),
        (b'{"global_step": ' + b"9" * 5000 + b"}", "trainer_state.json is not JSON"),
        (b'{"global_step": 20, "best": "\xff"}', "trainer_state.json is not JSON"),
        (b"[" * 100_000, "trainer_state.json is not JSON"),
        (b"[20]", "trainer_state.json is not a mapping"),
        (b"{}", "trainer_state.json is not from step 20"),
        (b'{"global_step": 10}', "trainer_state.json is not from step 20"),
        (
            b'{"global_step": 20, "log_history": ["x"]}',
            "log_history in trainer_state.json is not a list of rows",
        ),
    ],
    ids=["torn", "digits", "bytes", "deep", "list", "empty", "other step", "rows"],
)
def test_a_checkpoint_whose_trainer_state_cannot_be_resumed_is_damaged_also_with_the_right_hash(
    state, said_of_it, tmp_path
):
    for step, content in ((10, b'{"global_step": 10}'), (20, state)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_bytes(content)
        seal(folder, Manifest(step=step, files=describe(folder)))
    said = []
    assert newest_whole(tmp_path, say=said.append) == tmp_path / "checkpoint-10"
    assert len(said) == 1
    assert said_of_it in said[0]
    assert "checkpoint-20.damaged-1" in said[0]


@pytest.mark.parametrize("name", ["checkpoint-" + "9" * 200, "checkpoint-٣", "checkpoint-007"])
def test_a_name_that_no_step_has_is_no_checkpoint(name):
    assert step_of(name) is None
