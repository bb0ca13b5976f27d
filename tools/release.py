# SPDX-License-Identifier: Apache-2.0
"""``python -m tools.release v0.1.0``: print the notes of a release, from CHANGELOG.md (Keep a Changelog).

Exits with 1, and says what differs, unless the version of the tag is that of the package, the image, the charts, the
citation and a dated section of the changelog.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def versions(root: Path) -> Iterator[tuple[str, str]]:
    """Each place that holds the version, and the version there."""
    yield "pyproject.toml", tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    yield "CITATION.cff", str(yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))["version"])
    yield "Dockerfile", re.findall(r"^ARG VERSION=(.*)$", (root / "Dockerfile").read_text("utf-8"), re.M)[0]
    for file in sorted((root / "charts").glob("*/Chart.yaml")):
        chart = yaml.safe_load(file.read_text("utf-8"))
        yield f"{file.relative_to(root)}: version", chart["version"]
        yield f"{file.relative_to(root)}: appVersion", chart["appVersion"]
        for needed in chart.get("dependencies", ()):
            yield f"{file.relative_to(root)}: {needed['name']}", needed["version"]


def notes(changelog: str, version: str) -> str | None:
    """The section of a version, without its heading; None where there is no dated one."""
    heading = rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    found = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else None


def main(tag: str, root: Path = ROOT) -> int:
    """Print the notes, or on standard error what is wrong; returns the exit code."""
    version = tag.removeprefix("v")
    wrong = [f"{place} has {found}, not {version}" for place, found in versions(root) if found != version]
    text = notes((root / "CHANGELOG.md").read_text("utf-8"), version)
    if text is None:
        wrong.append(f"CHANGELOG.md has no section `## {version} - YYYY-MM-DD`")
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
