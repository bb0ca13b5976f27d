# SPDX-License-Identifier: Apache-2.0
"""Helm in tests: a chart rendered to objects, or refused with a text.

The program is $HELM, or `helm` beside this Python or on PATH (`python tools/get_helm.py` puts one into .venv/bin).
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tadrib.ray_jobs.kube.helm import find_helm
from tadrib.training.config.yaml.text import to_yaml
from tadrib.training.errors import ResourceError

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.yaml"))
PRESETS = sorted((CHARTS / "training-job" / "presets").glob("*.yaml"))
JOB_VALUES = sorted((CHARTS / "training-job" / "ci").glob("*-values.yaml"))
CLUSTER_VALUES = sorted((CHARTS / "ray-cluster" / "ci").glob("*-values.yaml"))
EVERY_FILE = [
    *(("training-job", path) for path in [*PRESETS, *JOB_VALUES]),
    *(("ray-cluster", path) for path in CLUSTER_VALUES),
]
FILE_IDS = [f"{chart}/{path.name}" for chart, path in EVERY_FILE]

Object = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm; the test is skipped where there is none."""
    try:
        program = find_helm()
    except ResourceError as error:
        pytest.skip(str(error))
    return subprocess.run([program, *arguments], capture_output=True, text=True, cwd=ROOT)


def messages(done: subprocess.CompletedProcess[str]) -> str:
    """Standard error without Helm's remark that the library chart is a symbolic link."""
    return "\n".join(line for line in done.stderr.splitlines() if "found symbolic link" not in line)


@cache
def _template(chart: str, arguments: tuple[str, ...], kube: str, name: str) -> str:
    options = ("--namespace", "team-a", "--kube-version", kube, "--api-versions", "ray.io/v1")
    done = helm("template", name, str(CHARTS / chart), *options, *arguments)
    assert done.returncode == 0, messages(done)
    return done.stdout


def render_file(chart: str, values: Path, *arguments: str, kube: str = "1.34.0") -> list[Object]:
    """Every object that a chart makes of a values file."""
    text = _template(chart, ("-f", str(values), *arguments), kube, "team-runs")
    return [thing for thing in yaml.load_all(text, yaml.CSafeLoader) if thing]


def render(chart: str, values: Object, tmp_path: Path, *arguments: str, kube: str = "1.34.0") -> list[Object]:
    """Every object that a chart makes of values given as a mapping."""
    return render_file(chart, write_values(values, tmp_path), *arguments, kube=kube)


def refused(chart: str, values: Object, tmp_path: Path, kube: str = "1.34.0") -> str:
    """What Helm says when it refuses values; fails where it takes them."""
    path = write_values(values, tmp_path)
    done = helm("template", "r", str(CHARTS / chart), "-f", str(path), "--kube-version", kube)
    assert done.returncode != 0, "these values were accepted"
    return messages(done)


def write_values(values: Object, tmp_path: Path) -> Path:
    path = tmp_path / f"values-{abs(hash(to_yaml(values)))}.yaml"
    path.write_text(to_yaml(values), encoding="utf-8")
    return path


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [thing for thing in objects if thing["kind"] == kind]


def one(objects: list[Object], kind: str) -> Object:
    (found,) = of_kind(objects, kind)
    return found


def a_job(platform: Object | None = None, job: Object | None = None, **spec: Any) -> Object:
    """Values of one small run on a volume, with what a test wants to differ."""
    given = {"method": "dpo", "name": "run", "dataset_path": "data/rows.jsonl", **spec}
    return {
        "jobs": {"run": {"spec": given, **(job or {})}},
        "platform": {"storage": {"claim": "tadrib"}, **(platform or {})},
    }
