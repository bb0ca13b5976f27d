# SPDX-License-Identifier: Apache-2.0
"""The GPU check on a CPU: every part comes to its end with figures, and one that does not is said so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.check import PARTS, SECONDS, _run

ROOT = Path(__file__).parents[2]


def records_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_parts_fit_into_eight_minutes():
    assert sum(part.seconds for part in PARTS.values()) <= SECONDS == 8 * 60


@pytest.mark.slow
def test_a_dry_run_finds_what_a_gpu_is_asked_for(tmp_path):
    file = tmp_path / "gpu.jsonl"
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry", "--results", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    records = records_of(file)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [record["part"] for record in records if record["case"] == ""][1:] == list(PARTS)
    assert "GPU check, " in done.stdout
    found = {(record["part"], record["case"]): record for record in records}
    paths = [record for (part, case), record in found.items() if part == "paths" and "path" in record]
    assert len(paths) in (4, 6), "with bitsandbytes or without"
    assert {record["path"] for record in paths} == {"packed"}
    sides = [record for (part, _), record in found.items() if part == "sides" and "ratio" in record]
    assert len(sides) == 4
    assert all(
        record["ratio"] == pytest.approx(record["ours tokens_per_second"] / record["TRL tokens_per_second"])
        for record in sides
    )
    heads = [record["log_prob"] for (part, case), record in found.items() if part == "head" and case]
    assert len(heads) == 6
    assert heads == pytest.approx([heads[-1]] * 6, rel=1e-5)
    demo = found["demo", "SFT of the bundled rows"]
    assert demo["after"] < demo["perplexity before"]


def test_a_part_that_takes_too_long_is_ended_and_said_so(tmp_path):
    file = tmp_path / "gpu.jsonl"
    file.write_text('{"part": "paths", "case": "an earlier one"}\n')

    assert _run("demo", 0.5, file, dry=True) is False
    earlier, late = records_of(file)
    assert earlier["case"] == "an earlier one"
    assert (late["part"], late["error"]) == ("demo", "had not ended after 0.5 s")
