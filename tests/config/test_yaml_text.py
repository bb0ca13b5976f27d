# SPDX-License-Identifier: Apache-2.0
"""What we write as YAML reads back the same: by our own reader, and by readers of YAML 1.1 such as Helm's."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tadrib.training.config import parse_spec
from tadrib.training.config.yaml.file import parse_yaml
from tadrib.training.config.yaml.text import to_yaml
from tadrib.training.config.yaml.written import plain
from tadrib.training.errors import SpecError

LOOKS_LIKE_ANOTHER_TYPE = [
    *(
        "12345e7",
        "1e400",
        "1e5",
        "+1e5",
        "1E5",
        ".5e3",
        "5.",
        "1_000",
        "0o7",
        "0x1F",
        "0b1",
        "007",
        "08",
        "+12",
    ),
    *("on", "off", "yes", "No", "y", "true", "False", "null", "Null", "~", "", "=", "<<", "-", "?"),
    *("12:30", "190:20:30", ".inf", "-.INF", ".nan", "2026-01-01", "2026-01-01 12:30:00", "1.0e-05", "1e-05"),
    *(
        "a\x85b",
        "a\u2028b",
        "a\u2029",
        "a\nb\n",
        "\ttab",
        " lead",
        "trail ",
        "a: b",
        "a #b",
        "#",
        "*x",
        "&x",
        "!x",
    ),
    *(
        "[a]",
        "{a}",
        "'",
        '"',
        "%x",
        "@x",
        "`x",
        "---",
        "...",
        "تدريب",
        "مي\u200cخواهم",
        "\ufeff",
        "🌙",
        "\x00",
        "\\",
    ),
]
NUMBERS = [1e-05, 5e-324, 1.7976931348623157e308, 1e16, 1e22, 0.1, 3.0, -0.0, 2**64, -(2**70)]
TEXTS = st.sampled_from(LOOKS_LIKE_ANOTHER_TYPE) | st.text()


@pytest.mark.parametrize("value", [*LOOKS_LIKE_ANOTHER_TYPE, *NUMBERS], ids=ascii)
def test_a_value_reads_back_the_same_in_either_version_of_yaml(value):
    text = to_yaml({"key": value, "list": [value]})
    for found in (parse_yaml(text)[0], yaml.safe_load(text)):
        assert found == {"key": value, "list": [value]}
        assert type(plain(found)["key"]) is type(plain(found)["list"][0]) is type(value)


@given(
    st.recursive(
        TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
        max_leaves=12,
    )
)
@settings(max_examples=100, deadline=None)
def test_any_mapping_reads_back_the_same(value):
    text = to_yaml({"key": value})
    assert parse_yaml(text) == ({"key": value}, [])


@given(
    name=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
    | st.sampled_from(["12345e7", "007", "null", "yes", "1e400", "2026-01-01"]),
    texts=st.fixed_dictionaries(
        {"dataset_path": TEXTS, "model_name": TEXTS, "model_revision": TEXTS, "ref_model_name": TEXTS}
    ),
    numbers=st.fixed_dictionaries(
        {
            "learning_rate": st.floats(min_value=0, max_value=1, exclude_min=True),
            "beta": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
            "seed": st.integers(0, 2**32 - 1),
        }
    ),
)
@settings(max_examples=50, deadline=None)
def test_any_spec_that_is_accepted_reads_back_the_same(name, texts, numbers):
    try:
        spec = parse_spec({"method": "dpo", "name": name, **texts, **numbers})
    except SpecError:
        assume(False)
    assert parse_yaml(spec.to_yaml()) == (spec.to_mapping(), [])
    assert yaml.safe_load(spec.to_yaml()) == spec.to_mapping()


def test_a_list_that_two_keys_share_is_written_twice():
    layers = ["q_proj"]
    text = to_yaml({"a": layers, "b": layers})
    assert parse_yaml(text) == ({"a": layers, "b": layers}, [])
