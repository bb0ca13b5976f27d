# SPDX-License-Identifier: Apache-2.0
"""Generated files: written, or checked to be current."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def write_or_check(files: Mapping[Path, str], *, check: bool, command: str) -> int:
    """Write the files whose text is not what it should be; with ``check`` only name them, and the ``command`` that
    writes them. Returns the exit code: 1 when a check finds one, else 0."""
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        if check:
            print(f"{path} is out of date; run `{command}`.", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
            print(f"wrote {path}")
    return 1 if check and stale else 0
