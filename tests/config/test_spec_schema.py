# SPDX-License-Identifier: Apache-2.0
"""The generated JSON schema and reference page: they agree with the loader and with the files in docs/."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from tadrib.training.config import METHODS, parse_spec
from tadrib.training.config.spec import spec_keys
from tools.spec_schema import main, spec_schema

DOCS = Path(__file__).parents[2] / "docs"
VALIDATOR = jsonschema.Draft7Validator(spec_schema())


def make_mapping(method="sft", **keys):
    return {"method": method, "name": "run", "dataset_path": "data/train.jsonl", **keys}


@pytest.mark.parametrize("dialect", [jsonschema.Draft7Validator, jsonschema.Draft202012Validator])
def test_the_schema_is_valid_under_both_dialects_helm_reads(dialect):
    errors = dialect(dialect.META_SCHEMA).iter_errors(spec_schema())
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("validator", [jsonschema.Draft7Validator, jsonschema.Draft202012Validator])
def test_the_schema_accepts_sparse_and_resolved_specs(method, validator):
    schema = validator(spec_schema())
    sparse = make_mapping(method, learning_rate=1, resources={"num_workers": {"min": 1, "max": 2}})
    for mapping in (
        sparse,
        parse_spec(sparse).to_mapping(),
        make_mapping(method, evaluation_strategy=False),
    ):
        assert [error.message for error in schema.iter_errors(mapping)] == []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"betta": 0.1}, "'betta' was unexpected"),
        ({"beta": 0.1}, "'beta' was unexpected"),
        ({"method": "dpo", "packing": True}, "'packing' was unexpected"),
        ({"method": "dop"}, "'dop' is not one of"),
        ({"lora_r": "8"}, "'8' is not of type 'integer'"),
        ({"lora_dropout": 1.5}, "1.5 is greater than or equal to the maximum of 1"),
        ({"name": "Arabic DPO"}, "does not match"),
        ({"resources": {"num_worker": 1}}, "'num_worker' was unexpected"),
        ({"resources": {"memory_per_worker": "64GB"}}, "'64GB' does not match"),
        ({"callbacks": []}, "'callbacks' was unexpected"),
    ],
)
def test_the_schema_refuses(keys, said):
    errors = [error.message for error in VALIDATOR.iter_errors(make_mapping(**keys))]
    assert any(said in error for error in errors), errors


@pytest.mark.parametrize("missing", ["method", "name"])
def test_the_schema_requires(missing):
    mapping = make_mapping()
    del mapping[missing]
    assert any(f"'{missing}' is a required" in error.message for error in VALIDATOR.iter_errors(mapping))


@pytest.mark.parametrize(
    "rows", [{"dataset_path": "a.jsonl"}, {"datasets": [{"path": "a.jsonl", "weight": 1}]}, {}]
)
def test_the_schema_requires_rows_under_one_of_two_keys(rows):
    mapping = {key: value for key, value in make_mapping().items() if key != "dataset_path"} | rows
    assert bool(list(VALIDATOR.iter_errors(mapping))) == (not rows)


def test_the_generated_files_are_up_to_date():
    assert main(["--check", "--docs", str(DOCS)]) == 0, "run: python -m tools.spec_schema"


def test_a_stale_file_fails_the_check_and_is_rewritten(tmp_path, capsys):
    assert main(["--docs", str(tmp_path)]) == 0
    assert main(["--check", "--docs", str(tmp_path)]) == 0
    page = tmp_path / "spec-reference.md"
    page.write_text(page.read_text() + "edited by hand\n")
    capsys.readouterr()
    assert main(["--check", "--docs", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"{page} is out of date; run `python -m tools.spec_schema`.\n"
    assert "edited by hand" in page.read_text(), "--check writes nothing"
    assert main(["--docs", str(tmp_path)]) == 0
    assert main(["--check", "--docs", str(tmp_path)]) == 0


def test_the_reference_page_names_every_key_and_its_example_loads():
    page = (DOCS / "spec-reference.md").read_text()
    for config in (method.config for method in METHODS.values()):
        missing = [key for key in spec_keys(config) if key != "resources" and f"| `{key}` |" not in page]
        assert missing == []
    example = page.split("```yaml\n")[1].split("```")[0]
    assert parse_spec(yaml.safe_load(example)).world_size == 2


def test_every_key_says_what_it_means():
    for config in (method.config for method in METHODS.values()):
        assert [key for key, field in config.model_fields.items() if not field.description] == []
