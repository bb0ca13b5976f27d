# SPDX-License-Identifier: Apache-2.0
"""The Python that we show: every name in it exists, and the scripts do what they promise."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tadrib.training.config import METHODS

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "docs" / "data.md"]
CONFIGS = {each.config.__name__: each.config for each in METHODS.values()}


def sources() -> Iterator[tuple[str, str]]:
    """Name and text of each example script, and of each Python block of the pages."""
    for path in SCRIPTS:
        yield path.name, path.read_text(encoding="utf-8")
    for path in PAGES:
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.S), 1):
            yield f"{path.name}, block {number}", block


SOURCES = dict(sources())


@pytest.mark.parametrize("name", SOURCES)
def test_every_name_that_is_imported_exists(name):
    for node in ast.walk(ast.parse(SOURCES[name])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("training", "ray_jobs"):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("name", SOURCES)
def test_every_setting_of_a_config_that_is_built_exists(name):
    for node in ast.walk(ast.parse(SOURCES[name])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CONFIGS:
            known = CONFIGS[node.func.id].model_fields
            assert [keyword.arg for keyword in node.keywords if keyword.arg not in known] == []


def test_the_readme_and_the_examples_show_python():
    assert "README.md, block 1" in SOURCES
    assert {path.name for path in SCRIPTS} >= {
        "sft_training.py",
        "dpo_training.py",
        "preference_training.py",
        "multi_method_comparison.py",
        "demo.py",
    }


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder in which the paths of the scripts hold, with a tiny model that has not learnt anything."""
    from tadrib.training.tiny.model import build_tiny_model

    folder = tmp_path_factory.mktemp("examples")
    (folder / "examples").symlink_to(ROOT / "examples")
    build_tiny_model(folder / "models" / "tiny")
    return folder


def run(script: str, workplace: Path) -> str:
    """What ``script`` prints, log lines left out."""
    done = subprocess.run(
        [sys.executable, f"examples/{script}"],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("{'"))


@pytest.fixture(scope="module")
def after_sft(workplace) -> str:
    """What sft_training.py printed; its model stands where the other scripts look for that of the spec."""
    printed = run("sft_training.py", workplace)
    run_directory = workplace / "runs" / "sft-arabic"
    run_directory.mkdir(parents=True)
    (run_directory / "final").symlink_to(workplace / "checkpoints" / "sft" / "final")
    return printed


@pytest.mark.slow
def test_the_sft_script_answers_right(after_sft):
    assert after_sft.splitlines()[-1] == "عاصمة مصر هي القاهرة."


@pytest.mark.slow
def test_the_dpo_script_raises_accuracy_and_answers_politely(after_sft, workplace):
    before, after, trained, _ = run("dpo_training.py", workplace).splitlines()[-4:]
    assert float(before.split()[-1]) < 0.7
    assert float(after.split()[-1]) > 0.9
    assert re.fullmatch(r"trained: .*، غرفة الأطفال في الطابق \S+\.", trained)
    assert "لا تزعجني" not in trained


@pytest.mark.slow
def test_the_preference_script_raises_accuracy_with_every_method(after_sft, workplace):
    printed = run("preference_training.py", workplace)
    accuracies = re.findall(r"^(\w+): held-out accuracy (\S+) -> (\S+)$", printed, re.M)
    assert [method for method, _, _ in accuracies] == ["kto", "ipo", "cpo", "simpo"]
    for method, before, after in accuracies:
        assert float(after) > max(0.8, float(before) + 0.2), method
