# SPDX-License-Identifier: Apache-2.0
"""manifests/: kustomize builds every overlay, and what it builds is valid and keeps its promises."""

from __future__ import annotations

import json
import re

import kubernetes_validate
import promql_parser
import pytest
import yaml

from tests.charts import crds
from tests.charts.helm import CHARTS, JOB_VALUES, PRESETS, of_kind, one, render_file
from tests.charts.test_network import allows, matches
from tests.kubectl import MANIFESTS, find_kubectl, kustomize

ROOT = MANIFESTS.parent
FOLDERS = ("base", "queue", "monitoring", "overlays/kind", "overlays/gpu")
KUBERNETES = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
METRICS = yaml.safe_load((MANIFESTS / "monitoring" / "metrics.yaml").read_text())
# exported by Ray, by KubeRay's operator
OTHERS = {
    "ray_node_gpus_utilization",
    "ray_node_gram_used",
    "ray_node_mem_used",
    "kuberay_job_deployment_status",
}


def build(folder):
    """The objects of a kustomization."""
    program = find_kubectl()
    if program is None:
        pytest.skip("no kubectl: set $KUBECTL, or run `python tools/get_helm.py`")
    return kustomize(program, folder)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_valid(folder):
    for thing in build(folder):
        if thing["apiVersion"].startswith(crds.GROUPS):
            assert crds.crd_errors(thing) == []
        elif not thing["apiVersion"].startswith("monitoring.coreos.com"):
            for version in KUBERNETES:
                kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_two_objects_have_one_name(folder):
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in build(folder)]
    assert len(names) == len(set(names))


def test_every_file_is_used_by_a_kustomization_or_known():
    used = set()
    for path in MANIFESTS.rglob("kustomization.yaml"):
        content = yaml.safe_load(path.read_text())
        used |= {path.parent / each for each in content["resources"]}
        for generator in content.get("configMapGenerator", []):
            used |= {path.parent / each.partition("=")[2] for each in generator["files"]}
    files = {path for path in MANIFESTS.rglob("*.*") if path.name != "kustomization.yaml"}
    alone = {str(path.relative_to(MANIFESTS)) for path in files if path not in used}
    assert alone == {
        *("kind/cluster.yaml", "kind/volume.yaml", "kind/up.sh", "kind/down.sh"),
        "monitoring/metrics.yaml",
        "README.md",
    }


def test_the_namespace_refuses_pods_that_are_not_restricted():
    labels = one(build("base"), "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["pod-security.kubernetes.io/enforce-version"] == "latest"


def test_everything_of_the_base_is_in_its_namespace():
    for thing in build("base"):
        if thing["kind"] != "Namespace":
            assert thing["metadata"]["namespace"] == "tadrib"


def test_presets_and_ci_values_mount_the_claim_of_the_base():
    claim = one(build("base"), "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for path in [*PRESETS, *JOB_VALUES]:
        name = yaml.safe_load(path.read_text())["platform"].get("storage", {}).get("claim")
        assert name in (None, claim["metadata"]["name"])


def test_a_kind_cluster_gets_a_volume_that_its_storage_class_has():
    claim = one(build("overlays/kind"), "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"


def test_submitters_may_do_what_the_charts_need_and_read_no_secret():
    (role,) = [
        each for each in of_kind(build("base"), "Role") if each["metadata"]["name"] == "tadrib-submitter"
    ]
    granted = {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert ("", "secrets") not in granted
    assert not any("*" in (*key, *verbs) for key, verbs in granted.items())
    made = set()
    for path in [*PRESETS, *JOB_VALUES]:
        for thing in render_file("training-job", path):
            group = thing["apiVersion"].rpartition("/")[0].partition("/")[0]
            plural = re.sub("y$", "ie", thing["kind"].lower()) + "s"
            made.add((group, plural))
    assert made <= set(granted)
    for key in made - {("", "pods")}:
        assert {"create", "delete", "get", "patch"} <= granted[key], key


def test_viewers_may_change_nothing():
    (role,) = [each for each in of_kind(build("base"), "Role") if each["metadata"]["name"] == "tadrib-viewer"]
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} <= {"get", "list", "watch"}


def policies(pod_labels):
    """Ingress and egress rules of every policy of the base that selects a pod, as they add up."""
    chosen = [
        each["spec"]
        for each in of_kind(build("base"), "NetworkPolicy")
        if matches(each["spec"]["podSelector"], pod_labels)
    ]
    restricted = {way for spec in chosen for way in spec["policyTypes"]}
    return (
        restricted,
        [r for s in chosen for r in s.get("ingress", [])],
        [r for s in chosen for r in s.get("egress", [])],
    )


def test_a_pod_that_nobody_thought_of_gets_dns_and_nothing_else():
    restricted, ingress, egress = policies({"app": "any"})
    assert restricted == {"Ingress", "Egress"}
    assert ingress == []
    assert allows(egress, "to", 53, namespace="kube-system")
    assert not allows(egress, "to", 443, address="52.1.2.3")


def test_a_run_with_a_policy_of_its_own_is_not_opened_to_the_namespace():
    _, ingress, egress = policies({"app.kubernetes.io/part-of": "tadrib"})
    assert ingress == []
    assert not allows(egress, "to", 6379, pod={"app.kubernetes.io/part-of": "tadrib"})


def test_a_run_without_one_gets_ray_operator_metrics_and_https():
    label = {"tadrib/network": "namespace"}
    _, ingress, egress = policies(label)
    assert allows(ingress, "from", 8265, namespace="kuberay-system")
    assert allows(ingress, "from", 8080, namespace="monitoring")
    assert allows(egress, "to", 443, address="52.1.2.3")
    assert not allows(egress, "to", 443, address="169.254.169.254")
    inside = [rule for rule in ingress if "podSelector" in rule["from"][0]]
    assert [(port["port"], port["endPort"]) for rule in inside for port in rule["ports"]] == [(1024, 65535)]
    assert matches(inside[0]["from"][0]["podSelector"], label)


def test_a_head_fits_the_flavor_without_gpus_and_a_worker_only_the_other():
    queue = one(build("queue"), "ClusterQueue")
    (group,) = queue["spec"]["resourceGroups"]
    quotas = {
        flavor["name"]: {each["name"]: each["nominalQuota"] for each in flavor["resources"]}
        for flavor in group["flavors"]
    }
    assert list(quotas) == ["tadrib-cpu", "tadrib-gpu"], "Kueue tries them in this order"
    assert quotas["tadrib-cpu"]["nvidia.com/gpu"] == "0" != quotas["tadrib-gpu"]["nvidia.com/gpu"]
    flavors = {each["metadata"]["name"]: each["spec"] for each in of_kind(build("queue"), "ResourceFlavor")}
    assert set(flavors) == set(quotas)
    assert flavors["tadrib-gpu"]["topologyName"] == one(build("queue"), "Topology")["metadata"]["name"]
    local = one(build("queue"), "LocalQueue")
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]


def test_the_kueue_values_of_ci_name_objects_of_the_queue():
    platform = yaml.safe_load((CHARTS / "training-job" / "ci" / "kueue-values.yaml").read_text())["platform"]
    names = {(each["kind"], each["metadata"]["name"]) for each in build("queue")}
    assert ("LocalQueue", platform["queue"]["name"]) in names
    assert ("WorkloadPriorityClass", platform["queue"]["priority"]) in names
    levels = [each["nodeLabel"] for each in one(build("queue"), "Topology")["spec"]["levels"]]
    assert platform["queue"]["topology"]["level"] in levels


def test_the_monitor_selects_the_ray_pods_of_the_charts_and_their_ports():
    spec = one(build("monitoring"), "PodMonitor")["spec"]
    job = one(render_file("training-job", JOB_VALUES[0]), "RayJob")
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    assert matches({"matchLabels": spec["selector"]["matchLabels"]}, head["metadata"]["labels"])
    ports = {port["name"] for port in head["spec"]["containers"][0]["ports"]}
    assert {each["port"] for each in spec["podMetricsEndpoints"]} <= ports
    assert {"tadrib/run", "tadrib/method", "tadrib/object"} <= {*spec["podTargetLabels"]} & {
        *head["metadata"]["labels"]
    }


def rules():
    return [
        rule
        for group in one(build("monitoring"), "PrometheusRule")["spec"]["groups"]
        for rule in group["rules"]
    ]


def dashboard():
    return json.loads(one(build("monitoring"), "ConfigMap")["data"]["tadrib.json"])


def expressions():
    """Every PromQL expression of alerts and dashboard, the dashboard's variables filled in."""
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    for panel in dashboard()["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel["targets"]]
    return [(name, re.sub(r"\$(run|namespace)", "any", expression)) for name, expression in found]


def test_every_expression_is_promql():
    assert {name: fault for name, expression in expressions() if (fault := _fault(expression))} == {}


def _fault(expression: str) -> str:
    try:
        promql_parser.parse(expression)
    except ValueError as error:
        return str(error)
    return ""


def test_alerts_and_dashboard_use_metrics_that_exist():
    known = {*METRICS["metrics"], *OTHERS}
    used = set()
    for _, expression in expressions():
        used |= set(re.findall(r"\b(?:ray|kuberay)_(?!io)[a-z_]+\b(?!=)", expression))
    assert used - known == set()
    assert set(METRICS["metrics"]) <= used, "each metric is shown or watched"


def test_metrics_are_named_as_prometheus_wants():
    for name, metric in METRICS["metrics"].items():
        assert (metric["type"] == "counter") == name.endswith("_total")
        assert set(metric) == {"type", "unit", "meaning"}


def test_every_alert_has_a_sentence_and_a_way_out():
    names = {rule["alert"] for rule in rules()}
    assert {"TadribRunStalled", "TadribLossNotFinite", "TadribRunFailing", "TadribGpuIdle"} <= names
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert "{{ $labels." in rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 40


def test_the_dashboard_is_found_by_grafana_and_its_panels_do_not_overlap():
    config = one(build("monitoring"), "ConfigMap")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    cells = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, panel["title"]
                assert x < 24
                cells.add((x, y))


def test_the_kind_cluster_has_nodes_to_lose():
    cluster = yaml.safe_load((MANIFESTS / "kind" / "cluster.yaml").read_text())
    assert (cluster["kind"], cluster["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert [node["role"] for node in cluster["nodes"]].count("worker") >= 2
