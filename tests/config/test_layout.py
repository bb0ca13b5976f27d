# SPDX-License-Identifier: Apache-2.0
"""The keys `format`, `columns` and `tags` of a dataset: what they take, and what they say of a slip."""

from __future__ import annotations

from typing import Any

import pytest

from tadrib.training.config.dataset.layout import Layout
from tadrib.training.config.spec import parse_spec
from tadrib.training.errors import SpecError

SPEC = {"method": "sft", "name": "a", "dataset_path": "rows.jsonl"}


def test_the_keys_of_a_spec_make_a_layout():
    columns = {"instruction": "السؤال", "response": "الجواب"}
    spec = parse_spec(SPEC | {"format": "alpaca", "columns": columns, "tags": {"user": "زائر"}})
    assert Layout.of(spec.config) == Layout(format="alpaca", columns=columns, tags={"user": "زائر"})
    assert Layout.of(parse_spec(SPEC).config) == Layout()


def test_the_tags_of_llama_factory_are_taken_as_they_are():
    tags = {"role_tag": "from", "observation_tag": "seen", "function_tag": "does", "user": "asker"}
    assert parse_spec(SPEC | {"tags": tags}).config.tags == {
        "role": "from",
        "tool": "seen",
        "call": "does",
        "user": "asker",
    }


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"columns": {"السؤال": "instruction"}}, "to that of the file: write instruction: السؤال"),
        ({"columns": {"instrution": "q"}}, "which is a column of no format; did you mean instruction?"),
        ({"columns": {"prompt": "q", "chosen": "q"}}, "names the column 'q' of the file twice"),
        ({"columns": ["instruction"]}, "columns: must be a mapping of keys to values"),
        ({"columns": {"instruction": 3}}, "columns.instruction: must be text, got 3"),
        ({"format": "sharegtp"}, "Did you mean sharegpt?"),
        ({"tags": {"usr": "x"}}, "names 'usr', which is no tag; did you mean user?"),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(keys: dict[str, Any], said: str):
    with pytest.raises(SpecError) as refused:
        parse_spec(SPEC | keys)
    assert said in str(refused.value)
