# SPDX-License-Identifier: Apache-2.0
"""Credentials: refused in a spec wherever they stand, with the way to give them, and repeated nowhere."""

from __future__ import annotations

import json
import logging

import pytest

from tadrib.ray_jobs.cluster.submission import read_submission
from tadrib.ray_jobs.failures import describe, report
from tadrib.training.config import METHODS, SFTConfig, load_spec, parse_spec
from tadrib.training.config.spec import spec_keys
from tadrib.training.config.strategy import as_text
from tadrib.training.errors import DataError, Problem, ResourceError, SpecError
from tadrib.training.files.store import Store
from tadrib.training.notices import warn
from tadrib.training.redaction import is_secret_name, redact
from tadrib.training.run.directory import RunDirectory
from tests.credentials import ORDINARY, REFUSED, TOKEN

SPEC = "method: dpo\nname: run\ndataset_path: rows.jsonl\n"


def spec_file(tmp_path, line):
    key = line.split(":")[0]
    path = tmp_path / "spec.yaml"
    path.write_text(
        "".join(kept for kept in SPEC.splitlines(True) if kept.split(":")[0] != key) + line + "\n"
    )
    return path


@pytest.mark.parametrize("line", REFUSED)
def test_a_credential_is_refused_and_never_repeated(tmp_path, line):
    where, secret = REFUSED[line]
    with pytest.raises(SpecError) as caught:
        load_spec(spec_file(tmp_path, line))
    found = [each for each in caught.value.problems if each.rule == "no_credentials"]
    assert [each.where for each in found] == [where]
    assert "in the environment of the nodes" in found[0].action
    assert "platform.secrets" in found[0].action
    assert secret not in str(caught.value)
    assert secret not in "\n".join(str(each) for each in caught.value.problems)


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_words_are_not_taken_for_credentials(tmp_path, line):
    spec = load_spec(spec_file(tmp_path, line))
    assert redact(spec.to_yaml()) == spec.to_yaml()


def test_no_key_of_a_spec_has_the_name_of_a_credential():
    assert [key for each in METHODS.values() for key in spec_keys(each.config) if is_secret_name(key)] == []
    assert not is_secret_name("pad_token")


@pytest.mark.parametrize(
    "override",
    [
        "dataset_path=https://me:hunter2@host/x",
        "sig=hunter2",
        "token: hunter2",
        "token={hunter2",
        "env.HF_TOKEN=hunter2",
        "storage_path='s3://me:hunter2@bucket'",
    ],
)
def test_an_override_with_a_credential_is_refused_and_not_repeated(tmp_path, override):
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    with pytest.raises(SpecError) as caught:
        load_spec(path, [override])
    assert "hunter2" not in str(caught.value)


def test_an_override_below_a_credential_does_not_repeat_it(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC + "token: hunter2\n")
    with pytest.raises(SpecError, match="as token is <hidden> and not a mapping") as caught:
        load_spec(path, ["token.x=1"])
    assert "hunter2" not in str(caught.value)


def test_a_credential_in_a_comment_is_refused_as_it_would_travel_in_the_job_s_command(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(f"{SPEC}# mine: {TOKEN}\nseed: 1 # https://me:hunter2@host\n")
    with pytest.raises(SpecError) as caught:
        read_submission(path, [], resume="")
    assert [(each.where, each.rule) for each in caught.value.problems] == [
        ("line 4", "no_credentials"),
        ("line 5", "no_credentials"),
    ]


def test_a_deepspeed_file_with_a_credential_is_refused_before_its_text_travels(tmp_path):
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 2}, "monitor": {"api_key": "hunter2"}}))
    mapping = {"method": "sft", "name": "run", "dataset_path": "d", "deepspeed": str(file)}
    for read in (lambda: as_text(str(file)), lambda: parse_spec(mapping)):
        with pytest.raises(
            SpecError, match=r"deepspeed\.monitor\.api_key: looks like a credential"
        ) as caught:
            read()
        assert "hunter2" not in str(caught.value)


def test_a_config_refuses_one_in_python_when_made_and_when_changed():
    with pytest.raises(SpecError, match="dataset_path: looks like a credential"):
        SFTConfig(dataset_path="https://me:hunter2@host/x")
    config = SFTConfig(dataset_path="rows.jsonl")
    with pytest.raises(SpecError, match="dataset_path: looks like a credential"):
        config.dataset_path = "https://host/x?sig=hunter2"
    assert config.dataset_path == "rows.jsonl"


def test_an_object_store_takes_none_from_its_address():
    with pytest.raises(ResourceError, match=r"s3://<hidden>@bucket/runs: looks like a credential"):
        Store("s3://me:hunter2@bucket/runs")


def test_errors_of_libraries_are_quoted_without_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    run = RunDirectory(tmp_path / "run")
    error = OSError(
        "401 for https://me:hunter2@host/x?sig=hunter3&v=1 with 0123456789abcdef and api_key='hunter4'"
    )
    quoted = "401 for https://<hidden>@host/x?sig=<hidden>&v=1 with <hidden> and api_key=<hidden>'"
    failure = describe(error, run, log=tmp_path / "log")
    assert failure.message == quoted
    assert report(failure).message == quoted
    assert quoted in str(failure.error)
    assert quoted in capsys.readouterr().err
    assert str(DataError("x", [Problem("https://me:hunter2@host", "unreadable.")])).endswith(
        "https://<hidden>@host: unreadable."
    )


def test_notices_are_given_without_them(caplog):
    with caplog.at_level(logging.WARNING):
        warn("s3://me:hunter2@bucket does not answer")
        logging.getLogger("tadrib").warning("%s does not answer", "https://host?token=hunter2")
    assert caplog.messages == [
        "s3://<hidden>@bucket does not answer",
        "https://host?token=<hidden> does not answer",
    ]
