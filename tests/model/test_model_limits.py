# SPDX-License-Identifier: Apache-2.0
"""Rows that a model has no room for are refused by key before it is loaded."""

import io
import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.driver.preparation import prepare
from tadrib.training.config import DPOConfig, SFTConfig, parse_spec
from tadrib.training.data.extent import Extent
from tadrib.training.data.group import Completion, Group
from tadrib.training.dpo_trainer import create_dpo_trainer
from tadrib.training.errors import SpecError
from tadrib.training.run.directory import RunDirectory
from tadrib.training.sft_trainer import create_sft_trainer
from tests.tiny import tiny_model, write_rows

YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 16}


def model(folder: Path, **changes) -> str:
    """A copy of the tiny model whose config.json says otherwise; its weights are not looked at here."""
    shutil.copytree(tiny_model(), folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | changes))
    return str(folder)


def sft(tmp_path: Path, name: str, **changes):
    rows = write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 6)
    return create_sft_trainer(
        SFTConfig(model_name=name, dataset_path=rows, output_dir=str(tmp_path / "out"), **changes)
    )


def test_the_extent_counts_each_answer_after_the_prompt():
    groups = [
        Group([1, 2, 3], [Completion([4, 5], "chosen"), Completion([9, 8, 7, 6], "rejected")], 0),
        Group([1], [Completion([2], "chosen"), Completion([3], "rejected")], 1),
    ]
    found = Extent()
    for group in [groups[1], *groups]:
        found.add(group)
    assert (found.longest, found.row, found.largest_id) == (7, 0, 9)


def test_rows_beyond_the_context_are_refused_with_key_row_and_limit(tmp_path):
    trainer = sft(tmp_path, model(tmp_path / "short", max_position_embeddings=16))
    said = (
        r"max_seq_length: 512, and row \d has \d+ tokens, but .*short \(model_name\) has a context of 16 \(max_position"
        r".*Set max_seq_length: 16, with truncation: truncate"
    )
    with pytest.raises(SpecError, match=said):
        trainer.load_and_validate_dataset()

    short = trainer.config.replace(max_seq_length=64, truncation="truncate", instruction_template="plain")
    short.model_name = model(tmp_path / "enough", max_position_embeddings=64)
    assert create_sft_trainer(short).load_and_validate_dataset().train


def test_rope_scaling_lifts_the_limit(tmp_path):
    name = model(tmp_path / "scaled", max_position_embeddings=16, rope_parameters=YARN)
    assert sft(tmp_path, name).load_and_validate_dataset().train


def test_a_preference_methods_limit_has_its_own_key_and_a_reference_model_is_looked_at_too(tmp_path):
    rows = write_rows(tmp_path / "dpo.jsonl", "dpo_train.jsonl", 4)
    other = model(tmp_path / "reference", max_position_embeddings=8)
    config = DPOConfig(model_name=tiny_model(), ref_model_name=other, dataset_path=rows)
    with pytest.raises(
        SpecError, match=r"max_length: 512, and row .* \(ref_model_name\) has a context of 8 "
    ) as caught:
        create_dpo_trainer(config).load_and_validate_dataset()
    assert len(caught.value.problems) == 1


def test_ids_beyond_the_embedding_are_refused_with_the_token(tmp_path):
    name = model(tmp_path / "added")
    tokenizer = AutoTokenizer.from_pretrained(name)
    rows = json.loads((tmp_path / "added" / "config.json").read_text())["vocab_size"]
    tokenizer.add_tokens([f"<|extra-{n}|>" for n in range(rows - len(tokenizer) + 1)])
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(rows)
    tokenizer.save_pretrained(name)
    said = rf"model_name: .*added has embeddings for {rows:,} tokens .* produces token id {rows:,} \(<\|extra-\d+\|>\)"
    with pytest.raises(SpecError, match=said):
        sft(tmp_path, name).load_and_validate_dataset()


def test_the_driver_refuses_before_any_worker_starts(tmp_path):
    spec = parse_spec(
        {
            "method": "sft",
            "name": "run",
            "dataset_path": write_rows(tmp_path / "rows.jsonl", "sft_train.jsonl", 4),
            "model_name": model(tmp_path / "small", vocab_size=100),
            "storage_path": str(tmp_path),
        }
    )
    run = RunDirectory(spec.run_dir)
    run.create()
    with (
        Display(io.StringIO()) as display,
        pytest.raises(SpecError, match="small has embeddings for 100 tokens"),
    ):
        prepare(spec, run, display)
    assert not run.data.exists()
