# SPDX-License-Identifier: Apache-2.0
"""What pages, messages and the Makefile say of this repository is so."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from tadrib.ray_jobs.cli.app import app
from tadrib.training.data.readers.compression import SUFFIXES

ROOT = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands
ALL = [*COMMANDS.values(), *COMMANDS["data"].commands.values()]
OPTIONS = {option for command in ALL for p in command.params for option in p.opts + p.secondary_opts}
HELMS = {"--debug"}
IN_THE_WHEEL = ("charts", "examples", "manifests")
NOT_IN_IT = ("docs", "trainer_image", "benchmarks", "tests", "tools")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def texts(path: Path) -> Iterator[str]:
    """The strings of a module that are no docstrings, with the constant parts of each f-string joined."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(part) for part in node.values}
            yield "…".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (bare | parts):
            yield node.value


def messages() -> list[tuple[str, str]]:
    files = [path for name in ("training", "ray_jobs") for path in sorted((ROOT / name).rglob("*.py"))]
    return [(str(path.relative_to(ROOT)), text) for path in files for text in texts(path)]


def test_messages_name_no_file_that_only_a_checkout_has():
    wrong = []
    for path, text in messages():
        said = re.sub(r"https?://\S+", "", text)
        found = re.findall(rf"(?<![\w./-])(?:{'|'.join(NOT_IN_IT)})/[\w.-]+", said)
        wrong += [f"{path}: {name}" for name in found if "in a checkout" not in said]
    assert wrong == []


def test_files_of_the_wheel_that_messages_name_exist():
    wrong = [
        f"{path}: {name}"
        for path, text in messages()
        for name in re.findall(rf"(?<![\w./-])((?:{'|'.join(IN_THE_WHEEL)})/[\w./-]*\w)", text)
        if not (ROOT / name).exists()
    ]
    assert wrong == []


def test_options_that_messages_advise_exist():
    advised = {
        option
        for path, text in messages()
        if " " in text
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }
    assert "--fresh" in advised
    assert advised - OPTIONS - HELMS == set()


@pytest.mark.parametrize("command", ["train", "launch", "submit"])
def test_commands_that_start_a_run_take_fresh(command):
    assert COMMANDS[command].make_context(command, ["spec.yaml", "--fresh"]).params["fresh"] is True


def test_pages_name_commands_that_exist():
    pages = [
        "pyproject.toml",
        "README.md",
        "CONTRIBUTING.md",
        *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
    ]
    named = {name for page in pages for name in re.findall(r"`tadrib ([a-z][a-z-]*)", read(page))}
    assert {"train", "validate", "submit"} <= named <= set(COMMANDS)


def test_the_page_of_data_names_every_compression():
    assert [suffix for suffix in SUFFIXES if f"`{suffix}`" not in read("docs/data.md")] == []


def tree_of_readme() -> list[str]:
    """The paths of README's tree: a name at the left margin is a folder at the top, an indented one is in it."""
    (block,) = re.findall(r"## Where things are\n\n```\n(.*?)```", read("README.md"), re.DOTALL)
    found, top = [], ""
    for line in block.splitlines():
        names = [
            name.rstrip(",")
            for name in re.split(r" {2,}", line.strip())[0].split()
            if re.search(r"[/.]|Dock", name)
        ]
        depth = len(line) - len(line.lstrip())
        if depth == 0 and names:
            top = names[0]
            found += names
        elif depth == 2:
            found += [top + name for name in names]
            inner = top + names[0]
        elif depth == 4:
            found += [inner + name for name in names]
    return found


def test_the_tree_of_the_readme_is_that_of_the_repository():
    tree = tree_of_readme()
    assert [path for path in tree if not any(ROOT.glob(path.rstrip("/")))] == []
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode == 0:
        folders = {f"{line.split('/')[0]}/" for line in tracked.stdout.splitlines() if "/" in line}
        assert {folder for folder in folders if not folder.startswith(".")} - set(tree) == set()


NOT_IN_THE_LOCK = {"real_model", "merge"}
"""Benchmarks of a model, and of a peer, that no lock has."""


def test_make_bench_runs_every_benchmark():
    programs = {
        p.stem for p in (ROOT / "benchmarks").glob("*.py") if "import typer" in p.read_text(encoding="utf-8")
    }
    assert set(re.findall(r"-m benchmarks\.(\w+)", read("Makefile"))) == programs - NOT_IN_THE_LOCK
