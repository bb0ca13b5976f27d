# SPDX-License-Identifier: Apache-2.0
"""The documentation as a site: it builds, has the pages that the guide lists, and starts in Arabic as the README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[list[str]]:
    """The fenced blocks of a page, line by line, without comments."""
    found = re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return [[line.split("  #")[0].rstrip() for line in block.splitlines()] for block in found]


def test_the_arabic_page_starts_as_the_readme_does():
    for language, word in (("yaml", "name: my-first-run"), ("bash", "tadrib train spec.yaml")):
        ours, theirs = (
            [block for block in blocks(page, language) if word in block]
            for page in ("docs/ar/index.md", "README.md")
        )
        assert ours == theirs != []


def test_the_api_has_a_page_of_each_module_that_the_guide_lists():
    pages = {path.stem for path in (ROOT / "docs" / "api").glob("*.md")}
    kinds = ("base", "sft", "dpo", "preference", "cpo", "simpo")
    assert {"model_merger", *(f"{kind}_trainer" for kind in kinds)} <= pages


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert (built.returncode, "WARNING" in built.stderr) == (0, False), built.stderr
    page = (tmp_path / "api" / "simpo_trainer.html").read_text(encoding="utf-8")
    assert "create_simpo_trainer" in page
    assert "Meng et al. 2024" in page
