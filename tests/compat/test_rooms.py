# SPDX-License-Identifier: Apache-2.0
"""Other libraries' private names are in the compat rooms alone, and each room is for the version that is pinned."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = {
    "accelerate",
    "bitsandbytes",
    "datasets",
    "deepspeed",
    "kubernetes",
    "peft",
    "ray",
    "torch",
    "transformers",
    "trl",
}
OF_TRAINER = re.compile(r"_[a-z]\w+")
ROOMS = {
    "training": ("accelerate", "bitsandbytes", "deepspeed", "peft", "transformers", "trl"),
    "ray_jobs": ("ray_interfaces",),
}


def private_uses(source: str) -> Iterator[str]:
    """Private modules and names of `LIBRARIES` that a file imports or reads by a dotted name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from _private(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from _private(alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield from _private([ast.unparse(node)])


def _private(names) -> Iterator[str]:
    for name in names:
        first, *parts = name.split(".")
        if first in LIBRARIES and any(re.match(r"_(?!_)", part) for part in parts):
            yield name


def overrides() -> set[str]:
    """The private steps of transformers' Trainer that its compat room renames."""
    from tadrib.training.compat.transformers import Steps

    return {name for name in vars(Steps) if OF_TRAINER.fullmatch(name)}


def files() -> list[Path]:
    found = [path for name in ROOMS for path in sorted((ROOT / name).rglob("*.py"))]
    return [path for path in found if path.parent.name != "compat"]


def test_private_names_are_used_in_the_compat_rooms_alone():
    found = [
        f"{path.relative_to(ROOT)}: {name}" for path in files() for name in private_uses(path.read_text())
    ]
    assert found == []


def test_no_trainer_overrides_a_private_step_of_transformers_elsewhere():
    steps = overrides()
    assert len(steps) == 10
    found = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in files()
        for kind in ast.walk(ast.parse(path.read_text()))
        if isinstance(kind, ast.ClassDef)
        for node in kind.body
        if isinstance(node, ast.FunctionDef) and node.name in steps
    ]
    assert found == []


def test_a_private_use_is_found():
    lines = [
        "import ray._raylet",
        "from ray.train.v2._internal.x import y",
        "from peft.a import _b",
        "torch._f(1)",
    ]
    assert len(list(private_uses("\n".join(lines)))) == 4
    assert list(private_uses("from ray.train import Result\nself._x = torch.nn\n")) == []


@pytest.mark.parametrize(("package", "room"), [(p, room) for p, rooms in ROOMS.items() for room in rooms])
def test_a_room_is_for_the_version_that_is_pinned(package, room):
    """After an upgrade each entry is read again beside the library's source, before its version is raised."""
    module = importlib.import_module(f"tadrib.{package}.compat.{room}")
    pins = (ROOT / "trainer_image" / "requirements.in").read_text(encoding="utf-8")
    library = "ray" if room == "ray_interfaces" else room
    assert re.search(rf"^{library}(?:\[.*\])?==(\S+)$", pins, re.MULTILINE)[1] == module.MADE_FOR
