# SPDX-License-Identifier: Apache-2.0
"""Imports go one way: config knows only light packages, training nothing of Ray or Kubernetes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRAINING = [
    ["compat"],
    ["redaction", "errors", "extras", "notices", "phases", "waiting"],
    ["config", "files", "data", "run", "plan"],
    ["losses", "engine", "model", "adapters", "tiny", "loop", "reference", "inference"],
    ["evaluation", "output_folder", "preference_watch", "kto_baseline", "model_merger"],
    ["base_trainer", "sft_trainer", "preference_trainer", "dpo_trainer", "trl_engine", "trainers"],
]
"""The rooms of ``training/``: a folder, or a file beside the folders. Each imports those before it alone."""
JOBS = [
    ["compat"],
    ["disk", "streams", "address", "authentication", "console"],
    ["paths", "events", "mirror", "failures", "trackers", "inputs"],
    ["runs", "worker", "driver", "local", "kube", "cluster", "cli"],
]
"""Those of ``ray_jobs/``, all of which come after ``training``."""
ORDER = [f"training.{room}" for row in TRAINING for room in row]
ORDER += [f"ray_jobs.{room}" for row in JOBS for room in row]
CONFIG_MAY = {"pydantic", "pydantic_core", "yaml", "training.errors", "training.redaction", "training.config"}
TRAINING_MUST_NOT = {"ray", "kubernetes", "ray_jobs"}
HEAVY = ("torch", "ray", "transformers", "datasets", "numpy", "peft", "trl")
FILES_A_FOLDER = 17


def imported_modules(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import in a file, at any depth, relative and dynamic ones included; names without
    the ``tadrib`` before them, as the folders are."""
    for line, name in _imported(path, root):
        yield line, name.removeprefix("tadrib.")


def _imported(path: Path, root: Path) -> Iterator[tuple[int, str]]:
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


def modules(root: Path) -> dict[str, Path]:
    """The files of both packages by dotted name, a folder's ``__init__`` by the folder's."""
    found = [path for name in ("training", "ray_jobs") for path in sorted((root / name).rglob("*.py"))]
    names = [path.relative_to(root).with_suffix("").parts for path in found]
    return {".".join(n[:-1] if n[-1] == "__init__" else n): p for n, p in zip(names, found, strict=True)}


def graph(root: Path) -> dict[str, set[str]]:
    """The modules that each module imports, at any depth of its code."""
    known = modules(root)
    return {
        name: {
            found if found in known else found.rpartition(".")[0]
            for _, found in imported_modules(path, root)
            if found in known or found.rpartition(".")[0] in known
        }
        for name, path in known.items()
    }


def place(module: str) -> int | None:
    """Where a module's room stands in the order; None for one that is in no room, such as a package itself."""
    package, _, rest = module.partition(".")
    return ORDER.index(f"{package}.{rest.partition('.')[0]}") if rest else None


def folder_of(module: str, known: dict[str, Path]) -> str:
    """The folder of a module, as a node: files beside sub-folders are nodes of their own."""
    path = known[module]
    if path.name == "__init__.py" or any(path.parent.glob("*/__init__.py")):
        return module
    return module.rpartition(".")[0]


def circles(edges: dict[str, set[str]]) -> list[str]:
    """What is left once everything that imports nothing more has been taken away, again and again."""
    left = {node: set(found) - {node} for node, found in edges.items()}
    while free := [node for node, found in left.items() if not found & left.keys()]:
        for node in free:
            del left[node]
    return sorted(left)


def test_imports_go_one_way():
    assert wrong_imports(ROOT) == []


def test_each_room_imports_those_before_it_alone():
    wrong = [
        f"{module} imports {found}"
        for module, imported in graph(ROOT).items()
        for found in imported
        if (own := place(module)) is not None and (other := place(found)) is not None and other > own
    ]
    assert wrong == []


def test_no_module_and_no_folder_stands_in_a_circle():
    known, by_module = modules(ROOT), graph(ROOT)
    by_folder: dict[str, set[str]] = {}
    for module, imported in by_module.items():
        found = {folder_of(each, known) for each in imported}
        by_folder.setdefault(folder_of(module, known), set()).update(found)
    assert circles(by_module) == []
    assert circles(by_folder) == []


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


def test_no_folder_is_crowded_and_none_is_deeper_than_two():
    folders: dict[Path, int] = {}
    for path in modules(ROOT).values():
        folders[path.parent.relative_to(ROOT)] = folders.get(path.parent.relative_to(ROOT), -1) + 1
    assert {str(folder): files for folder, files in folders.items() if files > FILES_A_FOLDER} == {}
    assert [str(folder) for folder in folders if len(folder.parts) > 3] == []


def test_a_wrong_import_is_found_wherever_it_hides(tmp_path):
    config = tmp_path / "training" / "config"
    config.mkdir(parents=True)
    (config / "good.py").write_text(
        "import json\nimport yaml\nfrom tadrib.training.errors import Problem\nfrom . import x\n"
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
        "class A:\n    def f(self):\n        import tadrib.ray_jobs.cli.app as c\n"
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
    code = f"import sys, tadrib.training.config; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_config_takes_under_half_a_second_of_cpu():
    code = "import time; start = time.process_time(); import tadrib.training.config; print(time.process_time() - start)"
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert min(float(run.stdout) for run in runs) < 0.5
