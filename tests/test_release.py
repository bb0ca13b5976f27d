# SPDX-License-Identifier: Apache-2.0
"""A release has one version everywhere, and notes; workflows call the Makefile, with actions pinned and few rights."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from tools.release import ROOT, main, notes, versions

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
WRITES = {("release.yml", "publish", "contents"), ("release.yml", "wheel", "id-token")}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "CITATION.cff", "Dockerfile", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "charts", tmp_path / "charts")
    return tmp_path


def test_one_version_stands_everywhere():
    found = dict(versions(ROOT))
    assert set(found.values()) == {VERSION}
    assert (
        len(found) == 3 + 3 * 2 + 2
    )  # files; version and appVersion of three charts; two that need the library


def test_notes_are_those_of_the_version():
    text = "# Changelog\n\n## Unreleased\n- c\n\n## 0.2.0 - 2026-12-01\n- b\n\n## 0.1.0 - 2026-11-27\n\n- a\n"
    assert [notes(text, version) for version in ("0.2.0", "0.1.0", "0.3.0", "0.1")] == [
        "- b",
        "- a",
        None,
        None,
    ]


def test_a_tag_of_the_version_prints_its_notes(copy, capsys):
    changelog = copy / "CHANGELOG.md"
    changelog.write_text(f"# Changelog\n\n## {VERSION} - 2026-01-02\n- all of it\n")
    assert main(f"v{VERSION}", copy) == 0
    assert capsys.readouterr().out == "- all of it\n"


def test_another_tag_is_refused_with_each_place(copy, capsys):
    assert main("v9.9.9", copy) == 1
    said = capsys.readouterr().err
    assert f"pyproject.toml has {VERSION}, not 9.9.9" in said
    assert f"charts/ray-cluster/Chart.yaml: tadrib-library has {VERSION}, not 9.9.9" in said
    assert "no section `## 9.9.9 - YYYY-MM-DD`" in said


def test_the_workflows_are_those_that_contributing_names():
    assert [path.stem for path in WORKFLOWS] == ["charts", "image", "lint", "release", "test"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_targets_of_the_makefile_by_pinned_actions_with_few_rights(path):
    text = path.read_text("utf-8")
    workflow = yaml.safe_load(text)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert workflow["permissions"] == {"contents": "read"}
    assert re.findall(r"uses: (?!actions/[\w-]+@[0-9a-f]{40}  # v[\d.]+$).*", text, re.MULTILINE) == []
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 120
        rights = job.get("permissions", {}).items()
        assert {(path.name, name, right) for right, level in rights if level == "write"} <= WRITES
        for run in [step["run"] for step in job["steps"] if "run" in step]:
            if not run.startswith("gh release create "):
                named = [
                    word
                    for word in run.split("  #")[0].split()[1:]
                    if "=" not in word and "matrix" not in word
                ]
                assert run.startswith("make ")
                assert set(re.sub(r"\$\{\{.*?\}\}", "", " ".join(named)).split()) <= set(targets)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_name_no_host_and_put_no_expression_into_a_shell(path):
    text = path.read_text("utf-8")
    assert re.findall(r"\b[\w-]+\.(?:io|org|com|dev)\b", text) == []
    for job in yaml.safe_load(text)["jobs"].values():
        runs = [step["run"] for step in job["steps"] if "run" in step]
        assert [run for run in runs if "${{" in run and "${{ matrix." not in run] == []
