# SPDX-License-Identifier: Apache-2.0
"""A tiny model on disk and rows for it, shared by tests that train for real."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from tadrib.training.tiny.model import build_tiny_model

EXAMPLES = Path(__file__).parent.parent / "examples" / "data"


@cache
def tiny_model() -> str:
    """The folder of the bundled tiny model, built once a session."""
    return str(build_tiny_model(Path(mkdtemp(prefix="tadrib-test-")) / "tiny"))


def write_rows(path: Path, name: str, count: int) -> str:
    """The first ``count`` rows of a bundled data file, written to ``path``."""
    lines = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()[:count]
    assert len(lines) == count
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)
