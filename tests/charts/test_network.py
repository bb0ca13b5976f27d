# SPDX-License-Identifier: Apache-2.0
"""Network policies of the charts: who may reach whom, decided on the rendered rules as a CNI would."""

from __future__ import annotations

import ipaddress

from tests.charts.helm import CHARTS, a_job, of_kind, one, render, render_file
from tests.charts.pods import templates


def policy_and_pods(objects):
    kind = "RayJob" if of_kind(objects, "RayJob") else "RayCluster"
    return one(objects, "NetworkPolicy"), dict(templates(one(objects, kind)))


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def allows(rules, way, port, *, pod=None, namespace=None, address=None):
    """Whether some rule lets a peer through: a pod of the same namespace, a namespace, or an address."""
    for rule in rules:
        if rule.get("ports") and port not in [each["port"] for each in rule["ports"]]:
            continue
        for peer in rule[way]:
            if pod is not None and set(peer) == {"podSelector"} and matches(peer["podSelector"], pod):
                return True
            name = {"kubernetes.io/metadata.name": namespace}
            if namespace and "namespaceSelector" in peer and matches(peer["namespaceSelector"], name):
                return True
            if address and "ipBlock" in peer and within(peer["ipBlock"], address):
                return True
    return False


def within(block, address):
    found = ipaddress.ip_address(address)
    return found in ipaddress.ip_network(block["cidr"]) and not any(
        found in ipaddress.ip_network(each) for each in block.get("except", [])
    )


def test_every_pod_of_a_run_is_selected_and_restricted_both_ways(tmp_path):
    policy, pods = policy_and_pods(render("training-job", a_job({"submissionMode": "K8sJobMode"}), tmp_path))
    assert set(pods) == {"head", "submitter", "worker workers"}
    for pod in pods.values():
        assert matches(policy["spec"]["podSelector"], pod["metadata"]["labels"])
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_pods_of_one_run_reach_each_other_and_not_those_of_another(tmp_path):
    policy, pods = policy_and_pods(render("training-job", a_job(), tmp_path))
    _, others = policy_and_pods(render("training-job", a_job(name="other"), tmp_path))
    for rules, way in ((policy["spec"]["ingress"], "from"), (policy["spec"]["egress"], "to")):
        assert allows(rules, way, 43210, pod=pods["head"]["metadata"]["labels"])
        assert not allows(rules, way, 43210, pod=others["head"]["metadata"]["labels"])


def test_operator_and_prometheus_reach_their_ports_and_no_others(tmp_path):
    policy, _ = policy_and_pods(render("training-job", a_job(), tmp_path))
    ingress = policy["spec"]["ingress"]
    assert allows(ingress, "from", 8265, namespace="kuberay-system")
    assert allows(ingress, "from", 8080, namespace="monitoring")
    for port, namespace in ((6379, "kuberay-system"), (8265, "monitoring"), (8265, "default")):
        assert not allows(ingress, "from", port, namespace=namespace)
    assert not allows(ingress, "from", 8265, address="10.1.2.3")


def test_pods_reach_dns_and_https_but_not_the_metadata_of_their_node(tmp_path):
    policy, _ = policy_and_pods(render("training-job", a_job(), tmp_path))
    egress = policy["spec"]["egress"]
    assert allows(egress, "to", 53, namespace="kube-system")
    assert allows(egress, "to", 443, address="52.1.2.3")
    assert not allows(egress, "to", 443, address="169.254.169.254")
    assert not allows(egress, "to", 80, address="52.1.2.3")
    assert not allows(egress, "to", 6443, address="10.0.0.1")


def test_only_the_autoscaler_makes_the_api_server_reachable():
    path = CHARTS / "training-job" / "ci" / "elastic-values.yaml"
    policy, _ = policy_and_pods(render_file("training-job", path))
    assert allows(policy["spec"]["egress"], "to", 6443, address="10.0.0.1")
    assert not allows(policy["spec"]["egress"], "to", 6443, address="10.0.0.2")


def test_rules_of_the_platform_replace_https_to_anywhere():
    path = CHARTS / "training-job" / "ci" / "object-store-values.yaml"
    egress = policy_and_pods(render_file("training-job", path))[0]["spec"]["egress"]
    assert allows(egress, "to", 9000, namespace="storage")
    assert not allows(egress, "to", 443, address="52.1.2.3")


def test_pods_without_a_policy_of_their_own_say_so_to_those_of_the_namespace():
    objects = render_file("training-job", CHARTS / "training-job" / "ci" / "open-values.yaml")
    assert of_kind(objects, "NetworkPolicy") == []
    for _, pod in templates(one(objects, "RayJob")):
        assert pod["metadata"]["labels"]["tadrib/network"] == "namespace"


def test_who_may_submit_to_a_shared_cluster_is_a_rule_of_its_platform():
    objects = render_file("ray-cluster", CHARTS / "ray-cluster" / "ci" / "gpu-values.yaml")
    policy, pods = policy_and_pods(objects)
    assert allows(policy["spec"]["ingress"], "from", 8265, pod={"tadrib/may-submit": "true"})
    assert not allows(policy["spec"]["ingress"], "from", 8265, pod={"app": "any"})
    assert set(pods) == {"head", "worker cpu", "worker gpu"}
