# SPDX-License-Identifier: Apache-2.0
"""The wheel, installed apart from the checkout, as a user has it whose own code is in a folder ``training/`` too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tiny import tiny_model
from tests.tiny import write_rows as write_bundled_rows

ROOT = Path(__file__).parents[2]
SOURCES = ("tadrib", "training", "ray_jobs", "charts", "examples", "manifests")
SPEC = """\
method: sft
name: mine
model_name: {model}
dataset_path: rows.jsonl
storage_path: runs
max_steps: 2
per_device_train_batch_size: 1
save_strategy: "no"
resources: {{num_workers: 1}}
"""

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, as setuptools leaves a ``build/`` behind whose old files go into the next wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in SOURCES:
        shutil.copytree(
            ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--wheel-dir", str(folder), str(source), cwd=folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory) -> Path:
    """A user's folder with code of the same name, and the wheel installed beside it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "training").mkdir()
    (folder / "training" / "__init__.py").write_text("MINE = True\n")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", str(folder / "installed"), str(wheel), cwd=folder)
    write_bundled_rows(folder / "rows.jsonl", "sft_train.jsonl", 4)
    (folder / "spec.yaml").write_text(SPEC.format(model=tiny_model()))
    return folder


def python(project: Path, *arguments: str) -> str:
    done = run(
        sys.executable, *arguments, cwd=project, PYTHONPATH=f".:{project / 'installed'}", COLUMNS="200"
    )
    return done.stdout


def test_a_wheel_holds_one_package_with_the_charts_in_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"tadrib"}
    for chart in ("training-job", "ray-cluster"):
        assert f"tadrib/charts/{chart}/Chart.yaml" in names
        assert f"tadrib/charts/{chart}/charts/tadrib-library/Chart.yaml" in names
    assert "tadrib/manifests/base/kustomization.yaml" in names
    assert {"tadrib/py.typed", "tadrib/training/presets/zero2.json", "tadrib/examples/01-sft.yaml"} <= names


def test_two_packages_called_training_live_side_by_side(project):
    program = (
        "import training, tadrib; from tadrib.training.config import SFTConfig;"
        " print(training.MINE, tadrib.__file__, SFTConfig.__module__)"
    )
    mine, file, module = python(project, "-c", program).split()
    assert (mine, module) == ("True", "tadrib.training.config.methods")
    assert Path(file).is_relative_to(project / "installed")


def test_commands_work_without_a_checkout(project):
    assert "sft of" in python(project, "-m", "tadrib", "validate", "spec.yaml")
    python(project, "-m", "tadrib", "train", "spec.yaml")
    assert (project / "runs" / "mine" / "final" / "adapter_model.safetensors").is_file()


def test_the_chart_of_the_wheel_is_rendered(project):
    from tadrib.ray_jobs.kube.helm import find_helm
    from tadrib.training.errors import ResourceError

    try:
        find_helm()
    except ResourceError as error:
        pytest.skip(str(error))
    rendered = python(project, "-m", "tadrib", "render", str(ROOT / "examples" / "10-dpo-qwen7b-qlora.yaml"))
    assert "kind: RayJob" in rendered


def test_a_checkouts_folder_says_its_name():
    done = subprocess.run([sys.executable, "-c", "import training"], cwd=ROOT, capture_output=True, text=True)
    assert "training is imported as tadrib.training" in done.stderr
