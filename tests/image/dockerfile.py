# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile as instructions by stage, and what .dockerignore lets into a build."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str


@dataclass
class Stage:
    """``base`` is what FROM names, ``name`` what AS gives it."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def texts(self, name: str) -> list[str]:
        return [instruction.text for instruction in self.instructions if instruction.name == name]


@cache
def dockerfile() -> tuple[list[Instruction], list[Stage]]:
    """The instructions before the first stage, and the stages."""
    before: list[Instruction] = []
    stages: list[Stage] = []
    for line in _joined((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        name, _, text = line.partition(" ")
        if name == "FROM":
            base, _, stage = text.partition(" AS ")
            stages.append(Stage(base, stage))
        else:
            (stages[-1].instructions if stages else before).append(Instruction(name, text.strip()))
    return before, stages


def _joined(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines()


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets ``path`` into the build: the last pattern that it, or a folder above it, matches."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        places = parts if "**/" in line else ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        if any(fnmatch.fnmatchcase(place, pattern) for place in places):
            sent = line.startswith("!")
    return sent
