# SPDX-License-Identifier: Apache-2.0
"""A new method is a row type, a loss, a config, a trainer and its line in the registry; no other place names it."""

import pytest

from tadrib.training.config import METHODS, JobSpec, parse_spec
from tadrib.training.data.report.check import check_data
from tadrib.training.errors import SpecError
from tadrib.training.trainers import create_trainer
from tests.own_method import RANK, RankConfig
from tests.tiny import tiny_model, write_rows
from tools.spec_reference import spec_reference
from tools.spec_schema import spec_schema

SPEC = {"method": "rank", "name": "a", "dataset_path": "rows.jsonl"}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(METHODS, RANK.name, RANK)


def test_a_spec_of_it_is_read_checked_and_written():
    spec = parse_spec(SPEC | {"rank_margin": 2.0})

    assert isinstance(spec.config, RankConfig)
    assert parse_spec(spec.to_mapping()).to_mapping() == spec.to_mapping()
    with pytest.raises(SpecError, match=r"Did you mean rank\?"):
        JobSpec(**SPEC | {"method": "ranc"})
    with pytest.raises(SpecError, match=r"rank_margin: not a key of method dpo.*these methods: rank"):
        parse_spec(SPEC | {"method": "dpo", "rank_margin": 2.0})


def test_schema_and_reference_have_it():
    branches = {each["if"]["properties"]["method"]["const"]: each for each in spec_schema()["allOf"]}

    assert "rank_margin" in branches["rank"]["then"]["properties"]
    assert "rank" in spec_schema()["properties"]["method"]["enum"]
    assert "## Method `rank`" in spec_reference()


def test_its_rows_are_checked(tmp_path):
    file = write_rows(tmp_path / "rows.jsonl", "dpo_train.jsonl", 4)

    assert check_data(file, "rank", RankConfig(), None).to_dict()["usable_rows"] == 4


def test_it_trains(tmp_path):
    """One pair a step, so the logged loss is that pair's: max(0, m - (c - r))."""
    config = RankConfig(
        rank_margin=500.0,
        model_name=tiny_model(),
        dataset_path=write_rows(tmp_path / "rows.jsonl", "dpo_train.jsonl", 2),
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=1,
        max_steps=1,
        logging_steps=1,
        save_strategy="no",
    )
    trainer = create_trainer("rank", config)
    trainer.train()
    logged = trainer.trainer.state.log_history[0]

    margin = logged["logps/chosen"] - logged["logps/rejected"]
    assert logged["loss"] == pytest.approx(500.0 - margin, rel=1e-4)


def test_trl_has_no_such_method():
    with pytest.raises(SpecError, match="engine: trl, which has no method rank"):
        create_trainer("rank", RankConfig(), engine="trl")
