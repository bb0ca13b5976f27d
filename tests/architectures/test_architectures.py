# SPDX-License-Identifier: Apache-2.0
"""Every family is computed as transformers computes it, or refused; `make test-architectures` tries all the cells."""

import pytest
import torch

from tests.architectures import page
from tests.architectures.families import FAMILIES, WINDOW
from tests.architectures.measure import measure, rows

PACKED = (
    "Qwen2, Qwen2.5",
    "Qwen3",
    "Qwen3-MoE",
    "Llama 2, 3",
    "Mistral",
    "Mixtral",
    "Gemma 2",
    "Gemma 3 (text)",
    "GPT-OSS",
    "Granite 4 (attention only)",
    "AFMoE",
)
"""Families whose rows must be packed; the others may take a slower path."""


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_on_both_sides_of_a_window_are_right_in_16_bit_or_refused(name):
    """Short rows come first, so a check of the first rows alone would miss the window."""
    cell = measure(name, torch.bfloat16, rows("dpo", "short"))

    if FAMILIES[name].refused:
        assert FAMILIES[name].refused in cell.refused
        assert f"Limit them to {WINDOW}" in cell.refused
        return
    assert not cell.refused
    assert cell.is_right, cell
    if name in PACKED:
        assert cell.path == "packed", cell.why


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.refused])
def test_what_is_refused_for_its_length_trains_on_shorter_rows(name):
    cell = measure(name, torch.float32, rows("sft", "short", shortest_only=True))

    assert cell.path == "packed"
    assert cell.is_right, cell


def test_the_page_has_a_line_for_each_family_and_no_other():
    text = page.PAGE.read_text(encoding="utf-8")
    table = text[text.index("| family |") :].splitlines()[2:]

    assert [row.split("|")[1].strip() for row in table] == list(FAMILIES)
    assert list(page.lines()) == list(FAMILIES)
