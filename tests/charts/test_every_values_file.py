# SPDX-License-Identifier: Apache-2.0
"""Every preset and every values file of ci/: Helm lints and renders it, and what it renders is valid for Kubernetes,
for the CRDs, for KubeRay, and for the Pod Security Standard."""

from __future__ import annotations

import kubernetes_validate
import pytest

from tests.charts import crds, kuberay_rules, pod_security
from tests.charts.helm import CHARTS, EVERY_FILE, FILE_IDS, helm, messages, render_file
from tests.charts.pods import templates

KUBERNETES = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
DRA_SINCE = 34  # resource.k8s.io/v1


@pytest.fixture(params=EVERY_FILE, ids=FILE_IDS)
def objects(request):
    return render_file(*request.param)


@pytest.mark.parametrize(("chart", "values"), EVERY_FILE, ids=FILE_IDS)
def test_it_passes_lint(chart, values):
    done = helm("lint", "--strict", "--kube-version", "1.34.0", str(CHARTS / chart), "-f", str(values))
    assert done.returncode == 0, done.stdout + messages(done)


def test_every_object_is_in_the_namespace_of_the_release(objects):
    assert {thing["metadata"]["namespace"] for thing in objects} == {"team-a"}


def test_no_two_objects_have_one_name(objects):
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in objects]
    assert len(names) == len(set(names))


def _fault(thing, version) -> str:
    """What the schema of this Kubernetes has against an object; nothing for a valid one."""
    try:
        kubernetes_validate.validate(thing, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("version", KUBERNETES)
def test_built_in_kinds_are_valid(objects, version):
    built_in = [thing for thing in objects if not thing["apiVersion"].startswith(crds.GROUPS)]
    faults = {thing["kind"]: _fault(thing, version) for thing in built_in if _exists(thing, version)}
    assert faults
    assert {kind: fault for kind, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("version", [KUBERNETES[0], KUBERNETES[-1]])
def test_pods_inside_of_rayjobs_are_valid(objects, version):
    faults = {}
    for thing in objects:
        for role, template in templates(thing):
            pod = {"apiVersion": "v1", "kind": "Pod", **template}
            pod["metadata"] = {"name": role.replace(" ", "-"), **template["metadata"]}
            if not (pod["spec"].get("resourceClaims") and int(version[2:]) < DRA_SINCE):
                faults[role] = _fault(pod, version)
    assert {role: fault for role, fault in faults.items() if fault} == {}


def test_objects_of_kuberay_are_valid_for_their_crd(objects):
    for thing in objects:
        if thing["apiVersion"].startswith(crds.GROUPS):
            assert crds.crd_errors(thing) == []


def test_kuberay_accepts_them(objects):
    for thing in objects:
        assert kuberay_rules.problems(thing) == []


def test_every_pod_satisfies_the_restricted_standard(objects):
    pods = [pod for thing in objects for pod in templates(thing)]
    assert len(pods) >= 3, "head, workers and test"
    assert {role: pod_security.violations(pod) for role, pod in pods} == {role: [] for role, _ in pods}


def _exists(thing, version):
    return thing["kind"] != "ResourceClaimTemplate" or int(version[2:]) >= DRA_SINCE
