# SPDX-License-Identifier: Apache-2.0
"""Imports go one way: config knows only light packages, training nothing of Ray or Kubernetes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG_MAY = {"pydantic", "yaml", "training.errors", "training.redaction", "training.config"}
TRAINING_MUST_NOT = {"ray", "kubernetes", "ray_jobs"}
HEAVY = ("torch", "ray", "transformers", "datasets", "numpy", "peft", "trl")


def imported_modules(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import in a file, at any depth, relative and dynamic ones included."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) + 1 - node.level]) if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def within(module: str, names: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def wrong_imports(root: Path) -> list[str]:
    """``path:line: module`` for each import that points the wrong way below ``root``."""
    wrong = []
    for path in sorted((root / "training").rglob("*.py")):
        in_config = (root / "training" / "config") in path.parents
        for line, module in imported_modules(path, root):
            allowed = within(module, CONFIG_MAY) or module.split(".")[0] in sys.stdlib_module_names
            if (in_config and not allowed) or within(module, TRAINING_MUST_NOT):
                wrong.append(f"{path.relative_to(root)}:{line}: {module}")
    return wrong


def test_imports_go_one_way():
    assert wrong_imports(ROOT) == []


def test_a_wrong_import_is_found_wherever_it_hides(tmp_path):
    config = tmp_path / "training" / "config"
    config.mkdir(parents=True)
    (config / "good.py").write_text(
        "import json\nimport yaml\nfrom training.errors import Problem\nfrom . import x\n"
    )
    (config / "hidden.py").write_text(
        "def load():\n    if True:\n        from torch import nn\n    return nn\n"
    )
    (config / "upwards.py").write_text("from ..data import group\nimport raymond\n")
    (tmp_path / "training" / "late.py").write_text(
        "import torch\nimport importlib\n\n\ndef start():\n    importlib.import_module('ray.train')\n"
        "    return __import__('kubernetes')\n"
    )
    (tmp_path / "training" / "up.py").write_text(
        "class A:\n    def f(self):\n        import ray_jobs.cli.app as c\n"
    )
    assert wrong_imports(tmp_path) == [
        "training/config/hidden.py:3: torch.nn",
        "training/config/upwards.py:1: training.data.group",
        "training/config/upwards.py:2: raymond",
        "training/late.py:6: ray.train",
        "training/late.py:7: kubernetes",
        "training/up.py:3: ray_jobs.cli.app",
    ]


def test_importing_the_config_loads_nothing_heavy():
    code = f"import sys, training.config; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_config_takes_under_half_a_second_of_cpu():
    code = (
        "import time; start = time.process_time(); import training.config; print(time.process_time() - start)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert min(float(run.stdout) for run in runs) < 0.5
