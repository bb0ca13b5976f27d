# SPDX-License-Identifier: Apache-2.0
"""Helm: runs the program with the chart of a run, and translates its errors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tadrib.training.errors import ClusterError, Problem, ResourceError, SpecError, TadribError

_OWN_CHARTS = Path(__file__).parents[2] / "charts"
_CHART = "training-job"
_UNREACHABLE = (
    "cluster unreachable",
    "connection refused",
    "no such host",
    "i/o timeout",
    "unauthorized",
    "must be logged in",
    "tls: failed",
)


def helm(*arguments: str) -> str:
    """Helm's output. Raises ResourceError without Helm, SpecError if the chart refuses values, else ClusterError."""
    done = subprocess.run([find_helm(), *arguments], capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout
    raise _refusal("\n".join(line for line in done.stderr.splitlines() if "found symbolic link" not in line))


def find_helm() -> str:
    """$HELM, else the program beside this Python, else the one on PATH."""
    beside = Path(sys.executable).parent / "helm"
    found = os.environ.get("HELM") or (str(beside) if beside.exists() else shutil.which("helm"))
    if found and shutil.which(found):
        return found
    where = f"{found} is not a program." if found else "was found neither beside this Python nor on PATH."
    action = "Install Helm 4 (https://helm.sh/docs/intro/install) or, in a checkout, run `python tools/get_helm.py`."
    raise ResourceError("Helm is not installed", [Problem("helm", where, action)])


def find_chart() -> str:
    """The chart of a run: the one in $TADRIB_CHARTS (a folder or oci:// URL), or the one installed with this package.
    The image has none, as nothing in it installs releases."""
    given = os.environ.get("TADRIB_CHARTS")
    if given and given.startswith("oci://"):
        return f"{given.rstrip('/')}/{_CHART}"
    chart = Path(given or _OWN_CHARTS) / _CHART
    if not (chart / "Chart.yaml").is_file():
        action = (
            "Set TADRIB_CHARTS to the folder `charts` of a checkout, or to an oci:// URL with the charts."
        )
        raise ResourceError("the chart was not found", [Problem(str(chart), "contains no chart.", action)])
    return str(chart)


def _refusal(text: str) -> TadribError:
    """Helm's message as an error: the chart's own message, violations of its schema, or an error of the cluster."""
    text = text.partition("\n\nUse --debug")[0]
    if own := re.search(r"execution error at \([^)]*\): (.*)", text, re.DOTALL):
        return SpecError("the chart refuses this run", [Problem("", own[1].strip())])
    if "meet the specifications of the schema" in text:
        faults = re.findall(r"^- at '(/?[^']*)': (.*)$", text, re.MULTILINE)
        problems = [
            Problem(where.strip("/").replace("/", ".") or "values", f"{said}.") for where, said in faults
        ]
        return SpecError("the chart refuses these values", problems or [Problem("", text.strip())])
    said = " ".join(text.split()).removeprefix("Error: ")
    if "secrets is forbidden" in said:
        action = (
            "Set HELM_DRIVER=configmap, for this command and for every other Helm command on the release."
        )
        return ClusterError(
            "Helm may not keep its release in a Secret", [Problem("helm", f"{said}.", action)]
        )
    if any(word in said.lower() for word in _UNREACHABLE):
        action = "Check that `kubectl version` reaches the cluster."
        return ClusterError("the Kubernetes cluster cannot be reached", [Problem("helm", f"{said}.", action)])
    return ClusterError("Helm failed", [Problem("helm", f"{said}.", "Check with `tadrib doctor`.")])
