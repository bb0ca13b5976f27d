# SPDX-License-Identifier: Apache-2.0
"""What KubeRay refuses in a RayJob or RayCluster beyond its CRD: an accepted object with one of these faults gets
the status ValidationFailed and stays there.

Source: kuberay v1.7.0, ray-operator/controllers/ray/utils/validation.go, with the feature gates at their defaults.
Every problem is reported, where KubeRay stops at the first. Rules on Redis and RocksDB, on RayService and RayCronJob
are left out, as nothing of ours sets them. What values can break of them the charts refuse themselves
(`_refuse.tpl`); these rules check what the charts render.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tests.charts.kuberay_cluster_rules import dns_1035, ray_cluster_spec_problems

MAX_RAY_JOB_NAME = 47
MAX_RAY_CLUSTER_NAME = 53
_DELETION_ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")

Object = dict[str, Any]


def problems(thing: Object) -> list[str]:
    """Every reason for which KubeRay would refuse a RayJob or RayCluster; none for other kinds."""
    if thing["kind"] == "RayJob":
        return [*_name(thing, MAX_RAY_JOB_NAME), *_job(thing)]
    if thing["kind"] == "RayCluster":
        spec = thing["spec"]
        found = [*_name(thing, MAX_RAY_CLUSTER_NAME), *ray_cluster_spec_problems(spec, _annotations(thing))]
        kind = spec.get("upgradeStrategy", {}).get("type", "Recreate")
        return found + ([] if kind in ("Recreate", "None") else [f"upgradeStrategy.type {kind} is unknown"])
    return []


def _annotations(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("annotations") or {}


def _name(thing: Object, longest: int) -> Iterator[str]:
    name = thing["metadata"]["name"]
    if len(name) > longest:
        yield f"{thing['kind']} name {name} is longer than {longest} characters"
    if not dns_1035(name):
        yield f"{thing['kind']} name {name} is not a DNS-1035 label"


def _job(job: Object) -> Iterator[str]:
    spec = job["spec"]
    cluster, selector = spec.get("rayClusterSpec"), spec.get("clusterSelector")
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield "suspend needs shutdownAfterJobFinishes"
    yield from _deletion(spec)
    if selector:
        yield from _selector(spec)
    elif cluster is None:
        yield "one of rayClusterSpec and clusterSelector must be set"
    yield from _submission(spec)
    if cluster is not None:
        if (cluster.get("authOptions") or {}).get("enableK8sTokenAuth"):
            yield "authOptions.enableK8sTokenAuth is not supported in a RayJob"
        if (cluster.get("upgradeStrategy") or {}).get("type"):
            yield "upgradeStrategy cannot be set in a RayJob"
        yield from ray_cluster_spec_problems(cluster, _annotations(job))
    yield from _numbers(spec)


def _numbers(spec: Object) -> Iterator[str]:
    for deadline in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(deadline) is not None and spec[deadline] <= 0:
            yield f"{deadline} must be positive"
    for count in ("backoffLimit", "ttlSecondsAfterFinished"):
        if (spec.get(count) or 0) < 0:
            yield f"{count} must not be negative"
    try:
        environment = yaml.safe_load(spec.get("runtimeEnvYAML") or "{}")
    except yaml.YAMLError:
        environment = None
    if not isinstance(environment, dict):
        yield "runtimeEnvYAML is not a YAML mapping"


def _selector(spec: Object) -> Iterator[str]:
    if not spec["clusterSelector"].get("ray.io/cluster"):
        yield "clusterSelector needs ray.io/cluster"
    if spec.get("suspend"):
        yield "clusterSelector does not go with suspend"
    if spec.get("submissionMode") == "SidecarMode":
        yield "clusterSelector does not go with SidecarMode"
    if (spec.get("backoffLimit") or 0) > 0:
        yield "clusterSelector does not go with backoffLimit"


def _submission(spec: Object) -> Iterator[str]:
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode not in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"):
        yield f"submissionMode {mode} is unknown (the CRD takes any text)"
    if mode == "InteractiveMode" and (spec.get("backoffLimit") or 0) > 0:
        yield "InteractiveMode does not go with backoffLimit"
    if mode != "SidecarMode":
        return
    for key in ("submitterPodTemplate", "submitterConfig"):
        if spec.get(key) is not None:
            yield f"SidecarMode does not go with {key}"
    head = (spec.get("rayClusterSpec") or {}).get("headGroupSpec", {}).get("template", {}).get("spec", {})
    if head.get("restartPolicy", "Never") != "Never":
        yield "SidecarMode needs restartPolicy Never on the head"


def _deletion(spec: Object) -> Iterator[str]:
    shutdown, strategy = spec.get("shutdownAfterJobFinishes"), spec.get("deletionStrategy")
    if not shutdown and (spec.get("ttlSecondsAfterFinished") or 0) > 0:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if strategy is None:
        return
    rules = strategy.get("deletionRules") or []
    old = [strategy[key] for key in ("onSuccess", "onFailure") if strategy.get(key)]
    if rules and shutdown:
        yield "deletionRules and shutdownAfterJobFinishes exclude each other"
    if rules and old:
        yield "deletionRules and onSuccess or onFailure exclude each other"
    if not rules and len(old) < 2:
        yield "deletionStrategy needs deletionRules, or both onSuccess and onFailure"
    if old and shutdown and any(each.get("policy") == "DeleteNone" for each in old):
        yield "shutdownAfterJobFinishes contradicts the policy DeleteNone"
    yield from _deletion_rules(spec, rules)


def _deletion_rules(spec: Object, rules: list[Object]) -> Iterator[str]:
    seen: dict[tuple[str, str], dict[str, int]] = {}
    scaled = (spec.get("rayClusterSpec") or {}).get("enableInTreeAutoscaling")
    for position, rule in enumerate(rules):
        policy, condition, where = rule["policy"], rule["condition"], f"deletionRules[{position}]"
        kinds = [key for key in ("jobStatus", "jobDeploymentStatus") if condition.get(key)]
        if len(kinds) != 1:
            yield f"{where}: exactly one of jobStatus and jobDeploymentStatus must be set"
            continue
        if condition.get("ttlSeconds", 0) < 0:
            yield f"{where}: ttlSeconds must not be negative"
        if spec.get("clusterSelector") and policy in ("DeleteCluster", "DeleteWorkers"):
            yield f"{where}: {policy} does not go with clusterSelector"
        if scaled and policy == "DeleteWorkers":
            yield f"{where}: DeleteWorkers does not go with the autoscaler"
        ttls = seen.setdefault((kinds[0], condition[kinds[0]]), {})
        if policy in ttls:
            yield f"{where}: a second {policy} for {condition[kinds[0]]}"
        ttls[policy] = condition.get("ttlSeconds", 0)
    for (_, status), ttls in seen.items():
        ordered = [ttls[policy] for policy in _DELETION_ORDER if policy in ttls]
        if ordered != sorted(ordered):
            yield f"for {status}, workers must go before the cluster, and the cluster before the RayJob"
