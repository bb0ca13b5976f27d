# SPDX-License-Identifier: Apache-2.0
"""kubectl in tests: $KUBECTL, or the program beside this Python or on PATH (`python tools/get_helm.py`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[1] / "manifests"


def find_kubectl() -> str | None:
    beside = Path(sys.executable).parent / "kubectl"
    return os.environ.get("KUBECTL") or (str(beside) if beside.exists() else shutil.which("kubectl"))


@cache
def kustomize(program: str, folder: str) -> list[dict[str, Any]]:
    """The objects of the kustomization in a folder of manifests/."""
    done = subprocess.run([program, "kustomize", str(MANIFESTS / folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [thing for thing in yaml.safe_load_all(done.stdout) if thing]
