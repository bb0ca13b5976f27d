# SPDX-License-Identifier: Apache-2.0
"""What can be known without a cluster: of kind's scripts, the pod on the volume, and what the suite installs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from tadrib.training.config import METHODS, parse_spec
from tadrib.training.config.yaml.file import parse_yaml
from tests.charts.helm import CHARTS, ROOT, of_kind, one, render_file, write_values
from tests.charts.kuberay_rules import problems
from tests.charts.pod_security import violations
from tests.charts.pods import templates
from tests.kind import settings, volume
from tests.kubectl import MANIFESTS

UP, DOWN = MANIFESTS / "kind" / "up.sh", MANIFESTS / "kind" / "down.sh"
BASH = shutil.which("bash") or pytest.skip("bash is not installed", allow_module_level=True)
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")


def script(path, folder, **environment):
    """Run a script where only the programs in ``folder`` are found."""
    env = {"PATH": str(folder), **environment}
    return subprocess.run([BASH, str(path)], env=env, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("path", [UP, DOWN], ids=lambda path: path.name)
def test_scripts_are_well_formed_and_can_be_started(path):
    subprocess.run([BASH, "-n", str(path)], check=True)
    assert os.access(path, os.X_OK)


def test_all_programs_that_are_missing_are_named_in_one_sentence(tmp_path):
    done = script(UP, tmp_path, HELM="no-such-helm", KUBECTL="no-such-kubectl")
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith("Please install")
    assert [name for name in ("docker", "kind", "kubectl", "helm") if f"{name} (" in said] == [
        *("docker", "kind", "kubectl", "helm"),
    ]


def test_without_kind_there_is_nothing_to_delete(tmp_path):
    done = script(DOWN, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Please install kind" in done.stderr


def test_the_cluster_is_made_once_and_what_it_gets_can_be_had_again(tmp_path):
    """Programs that only say how they are called; `kind get clusters` knows of the cluster the second time."""
    log, made = tmp_path / "log", tmp_path / "made"
    answers = f"*clusters) [ -e {made} ] && echo tadrib;; *nodes*) echo tadrib-worker;; create*) : > {made};;"
    kind, kubectl = f'case "$*" in {answers} esac', 'case "$*" in *"--filename -") cat > /dev/null;; esac'
    for name, does in {"docker": "", "kind": kind, "kubectl": kubectl, "helm": ""}.items():
        program = tmp_path / name
        program.write_text(f'#!{BASH}\necho "{name} $*" >> {log}\n{does}\nexit 0\n')
        program.chmod(0o755)
    for name in ("cat", "grep", "paste", "sed"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    own = {name.upper(): str(tmp_path / name) for name in ("kubectl", "helm")}
    for _ in range(2):
        done = script(UP, tmp_path, IMAGE="registry:5000/mine:1", **own)
        assert done.returncode == 0, done.stderr
    said = log.read_text().splitlines()
    assert sum(line.startswith("kind create") for line in said) == 1
    assert sum(line.startswith("kind load docker-image registry:5000/mine:1 ") for line in said) == 2
    assert sum(line.startswith("helm upgrade --install") for line in said) == 2
    there = [line for line in said if line.startswith(("kubectl", "helm"))]
    assert all(re.search("--(kube-)?context kind-tadrib ", line) for line in there)


def test_the_operator_is_installed_as_the_page_installs_it():
    text = UP.read_text(encoding="utf-8")
    install = re.search(r"^helm install kuberay-operator .*$", PAGE, re.MULTILINE)[0]
    repository = re.search(r"^helm repo add kuberay (\S+)$", PAGE, re.MULTILINE)[1]
    assert repository in text
    for option in re.findall(r"(?:--version|--set|--set-json) \S+", install):
        assert option in text


def test_the_pod_on_the_volume_is_restricted_and_known_to_kubernetes():
    for pod in (yaml.safe_load((MANIFESTS / "kind" / "volume.yaml").read_text()), volume.pod()):
        assert violations(pod) == []
        kubernetes_validate.validate(pod, "1.36", strict=True)


def test_the_rows_of_every_method_fit_a_config_map():
    data = volume.rows()["data"]
    assert set(data) == {f"{method}.jsonl" for method in METHODS}
    assert sum(len(text.encode()) for text in data.values()) < 1024**2
    (made,) = re.findall(r"^for method in (.*); do$", UP.read_text(), re.MULTILINE)
    assert set(made.split()) == set(METHODS)


@pytest.mark.parametrize("what", [*METHODS, "long"])
def test_what_the_suite_installs_is_taken_by_the_chart_the_spec_and_kuberay(what, tmp_path):
    name, preset = f"t0000-{what}", CHARTS / "training-job" / "presets" / f"{what}.yaml"
    jobs = (
        {name: {"spec": settings.long_spec(name, 2)}}
        if what == "long"
        else settings.preset_changes(what, name)
    )
    own = write_values({"jobs": jobs, "platform": settings.platform()}, tmp_path)
    files = [own] if what == "long" else [preset, own]
    objects = render_file("training-job", files[0], *(f"--values={path}" for path in files[1:]))
    job = one(objects, "RayJob")
    assert problems(job) == []
    assert [text for thing in objects for _, pod in templates(thing) for text in violations(pod)] == []
    maps = {thing["metadata"]["name"]: thing for thing in of_kind(objects, "ConfigMap")}
    text = maps[job["metadata"]["name"]]["data"]
    (spec,) = [parse_spec(parse_yaml(each)[0], name) for name, each in text.items()]
    assert spec.config.model_name == f"{settings.FOLDER}/models/tiny"
    assert spec.resources.gpus_per_worker == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tadrib:dev", ("tadrib", "dev", "")),
        ("registry:5000/a/tadrib", ("registry:5000/a/tadrib", "latest", "")),
        ("registry:5000/a/tadrib:1@sha256:ab", ("registry:5000/a/tadrib", "1", "sha256:ab")),
    ],
)
def test_names_of_images_are_taken_apart(name, expected):
    found = settings.image(name)
    assert (found["repository"], found["tag"], found["digest"]) == expected
