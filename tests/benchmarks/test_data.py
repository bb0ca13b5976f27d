# SPDX-License-Identifier: Apache-2.0
"""The benchmark of preparing rows, on few of them: each side prepares every row, and the figures are written."""

import json

import pytest

from benchmarks import data

pytestmark = pytest.mark.slow


def test_each_side_prepares_all_rows_and_the_figures_are_written(tmp_path):
    data.main(rows=600, fewer=200, compared=300, planned=10_000, json_file=tmp_path / "figures.json")

    found = json.loads((tmp_path / "figures.json").read_text())
    assert [(each["side"], each["rows"]) for each in found["figures"]] == [
        ("processes", 300),
        ("one process", 300),
        ("TRL, two processes", 300),
        ("processes", 200),
        ("processes", 600),
    ]
    assert all(each["rows_per_second"] > 0 and each["peak_bytes"] > 2**20 for each in found["figures"])
    assert [plan["bin_tokens"] for plan in found["plans"]] == [None, 2048]
