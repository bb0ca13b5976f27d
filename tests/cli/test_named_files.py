# SPDX-License-Identifier: Apache-2.0
"""Small files that a command names (prompts, specs, values of a platform), and whatever may stand in their place."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tadrib.ray_jobs.cli.comparison import read_prompts
from tadrib.ray_jobs.cluster.submission import read_submission
from tadrib.ray_jobs.kube.release import read_release
from tadrib.training.errors import SpecError


def test_each_line_with_text_is_a_prompt(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffما عاصمة مصر؟\r\n\n  \nWho?".encode())
    assert read_prompts(file) == ["ما عاصمة مصر؟", "Who?"]


def test_a_pipe_that_nobody_writes_to_holds_no_prompt(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert read_prompts(tmp_path / "pipe") == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/zero", "cannot be read: it is a device, not a file"),
        ("/", "cannot be read: Is a directory"),
        ("/none.txt", "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_file_is_refused_with_the_next_step(path, reason):
    with pytest.raises(SpecError, match=rf"--file: {path} {reason}\. Give --file a text file"):
        read_prompts(Path(path))


def test_a_file_in_another_encoding_or_of_any_size_is_refused(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"who?\ncaf\xe9\n")
    with pytest.raises(SpecError, match=r"latin\.txt:2 is not UTF-8: byte 0xe9\. Save the file as UTF-8"):
        read_prompts(tmp_path / "latin.txt")
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(SpecError, match=r"large\.txt cannot be read: more than 10,000,000 bytes"):
        read_prompts(tmp_path / "large.txt")


SPEC = "method: sft\nname: piped\nmodel_name: models/tiny\ndataset_path: rows.jsonl\n"


@pytest.fixture
def piped_spec(tmp_path):
    """As a shell's `<(…)` gives it: it can be read once."""
    pipe = tmp_path / "spec"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(SPEC,))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # with a reader, the writer need not wait for one
    writer.start()
    writer.join()
    yield pipe
    os.close(reader)


def test_a_spec_from_a_pipe_is_submitted_as_it_was_read(piped_spec):
    submission = read_submission(piped_spec, [], resume="")
    assert submission.spec.name == "piped"
    assert SPEC.rstrip() in submission.entrypoint


@pytest.mark.parametrize("overrides", [[], ["seed=7"]])
def test_a_spec_from_a_pipe_is_released_as_it_was_read(piped_spec, overrides):
    release = read_release(piped_spec, overrides, namespace="default")
    assert "name: piped" in release.text
    assert ("seed: 7" in release.text) is bool(overrides)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "it is a pipe, not a file"),
        (Path.mkdir, "it is a folder, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
        (lambda path: path.write_bytes(b"\xff"), "not valid YAML"),
        (lambda path: path.write_text("[" * 2_000), "not valid YAML"),
        (lambda path: path.write_text("platform: " + "9" * 5_000), "not valid YAML"),
    ],
    ids=["pipe", "folder", "device", "bytes", "nesting", "digits"],
)
def test_values_that_are_no_yaml_file_are_refused(tmp_path, make, reason):
    (tmp_path / "run.yaml").write_text(SPEC)
    make(tmp_path / "values.yaml")
    with pytest.raises(SpecError, match=reason):
        read_release(tmp_path / "run.yaml", namespace="default", values=[tmp_path / "values.yaml"])
