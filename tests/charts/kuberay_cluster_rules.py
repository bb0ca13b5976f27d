# SPDX-License-Identifier: Apache-2.0
"""What KubeRay refuses in a RayClusterSpec, whoever holds it; source and scope are those of `kuberay_rules`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_LABEL_KEY = re.compile(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
_RESOURCE_PARAMETERS = ("num-cpus", "num-gpus", "memory", "resources")
_AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"


def dns_1035(name: str) -> bool:
    """Whether a name is a DNS-1035 label: it starts with a letter."""
    return bool(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name))


def env_value(container: Object, name: str) -> str | None:
    """The value of an environment variable, empty for one from elsewhere; None where there is none."""
    for variable in container.get("env") or []:
        if variable["name"] == name:
            return variable.get("value", "")
    return None


def ray_cluster_spec_problems(spec: Object, annotations: dict[str, str]) -> Iterator[str]:
    """Every reason for which KubeRay would refuse a RayClusterSpec."""
    head = spec["headGroupSpec"]
    groups = spec.get("workerGroupSpecs") or []
    for name, group in [("Head", head), *((each["groupName"], each) for each in groups)]:
        if not group["template"]["spec"].get("containers"):
            yield f"group {name} has no container"
            return
        yield from _resources_and_labels(name, group)
    for group in groups:
        yield from _replicas(group, spec)
    container = head["template"]["spec"]["containers"][0]
    yield from _fault_tolerance(spec, container, annotations)
    yield from _autoscaler(spec, groups, container)
    yield from _auth(spec)
    for key, gate in (
        ("networkPolicy", "RayClusterNetworkPolicy"),
        ("tlsOptions", "RayClusterMTLS"),
        ("historyServerOptions", "RayClusterHistoryServer"),
    ):
        if spec.get(key) is not None:
            yield f"{key} needs the feature gate {gate}, which is off"


def _resources_and_labels(name: str, group: Object) -> Iterator[str]:
    parameters = group.get("rayStartParams") or {}
    if group.get("resources") and any(parameters.get(key) for key in _RESOURCE_PARAMETERS):
        yield f"group {name}: resources are set in rayStartParams and in resources"
    if "labels" in parameters:
        yield f"group {name}: rayStartParams.labels is not supported"
    for key, value in (group.get("labels") or {}).items():
        if not re.fullmatch(_LABEL_KEY, key) or not re.fullmatch(_LABEL_VALUE, value) or len(value) > 63:
            yield f"group {name}: label {key}={value} is not a Kubernetes label"


def _replicas(group: Object, spec: Object) -> Iterator[str]:
    name, least, most = group["groupName"], group.get("minReplicas"), group.get("maxReplicas")
    if not spec.get("enableInTreeAutoscaling") and (least is None or most is None):
        yield f"group {name}: minReplicas and maxReplicas must be set without the autoscaler"
    if any(number is not None and number < 0 for number in (least, most)):
        yield f"group {name}: minReplicas and maxReplicas must not be negative"
    if least is not None and most is not None and least > most:
        yield f"group {name}: minReplicas is above maxReplicas"
    explicit = _version(spec) == "v2" or _v2_by_environment(spec)
    if group.get("idleTimeoutSeconds") is not None and not explicit:
        yield f"group {name}: idleTimeoutSeconds needs autoscalerOptions.version v2"
    if (group.get("idleTimeoutSeconds") or 0) < 0:
        yield f"group {name}: idleTimeoutSeconds must not be negative"
    if group.get("priority"):
        if not explicit:
            yield f"group {name}: priority needs autoscalerOptions.version v2"
        if _ray(spec) < (2, 56):
            yield f"group {name}: priority needs rayVersion 2.56"


def _fault_tolerance(spec: Object, head: Object, annotations: dict[str, str]) -> Iterator[str]:
    options = spec.get("gcsFaultToleranceOptions")
    if annotations.get("ray.io/ft-enabled") and options is not None:
        yield "annotation ray.io/ft-enabled and gcsFaultToleranceOptions exclude each other"
    enabled = options is not None or annotations.get("ray.io/ft-enabled") == "true"
    if not enabled and env_value(head, "RAY_REDIS_ADDRESS") is not None:
        yield "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions"
    if env_value(head, "REDIS_USERNAME") is not None:
        yield "REDIS_USERNAME is set by gcsFaultToleranceOptions alone"


def _autoscaler(spec: Object, groups: list[Object], head: Object) -> Iterator[str]:
    options = spec.get("autoscalerOptions") or {}
    by_environment = env_value(head, _AUTOSCALER_V2)
    if not spec.get("enableInTreeAutoscaling"):
        if by_environment in ("1", "true"):
            yield f"{_AUTOSCALER_V2} is set without the autoscaler"
    else:
        if _version(spec) and by_environment is not None:
            yield f"{_AUTOSCALER_V2} and autoscalerOptions.version are both set"
        for name, group in [("Head", spec["headGroupSpec"]), *((each["groupName"], each) for each in groups)]:
            policy = group["template"]["spec"].get("restartPolicy", "Never")
            if _version(spec) == "v2" and policy != "Never":
                yield f"group {name}: the autoscaler v2 needs restartPolicy Never, got {policy}"
            if group.get("suspend"):
                yield f"group {name} cannot be suspended with the autoscaler"
    if (options.get("idleTimeoutSeconds") or 0) < 0:
        yield "autoscalerOptions.idleTimeoutSeconds must not be negative"
    if env_value(options, "KUBERAY_GEN_AUTOSCALER_START_CMD") is not None:
        yield "autoscalerOptions.env must not set KUBERAY_GEN_AUTOSCALER_START_CMD"


def _auth(spec: Object) -> Iterator[str]:
    options = spec.get("authOptions") or {}
    if options.get("mode") != "token":
        if options.get("enableK8sTokenAuth"):
            yield "authOptions.enableK8sTokenAuth needs mode token"
        return
    if _ray(spec) < (2, 52):
        yield f"authOptions.mode token needs rayVersion 2.52, got {spec.get('rayVersion') or 'none'}"
    if options.get("enableK8sTokenAuth"):
        if _ray(spec) < (2, 55):
            yield "authOptions.enableK8sTokenAuth needs rayVersion 2.55"
        if options.get("secretName"):
            yield "authOptions.enableK8sTokenAuth and secretName exclude each other"


def _version(spec: Object) -> str | None:
    return (spec.get("autoscalerOptions") or {}).get("version")


def _v2_by_environment(spec: Object) -> bool:
    container = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    return env_value(container, _AUTOSCALER_V2) in ("1", "true")


def _ray(spec: Object) -> tuple[int, ...]:
    """rayVersion as numbers; (0,) where it is missing or not a version."""
    match = re.match(r"v?(\d+)\.(\d+)", spec.get("rayVersion") or "")
    return tuple(map(int, match.groups())) if match else (0,)
