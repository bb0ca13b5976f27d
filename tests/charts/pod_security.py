# SPDX-License-Identifier: Apache-2.0
"""The Pod Security Standard `restricted` (with `baseline`, which it contains), field by field.

Source: the published standard, https://kubernetes.io/docs/concepts/security/pod-security-standards/, one function for
each of its controls. It is stricter in one way: a root file system that can be written is refused too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.charts.pods import containers

Object = dict[str, Any]

SAFE_VOLUMES = {
    *(
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ),
}
SAFE_SYSCTLS = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout"),
    *("net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"),
}


def violations(pod: Object) -> list[str]:
    """What of a pod the standard refuses; each names its field."""
    found = [*_pod(pod)]
    for container in containers(pod):
        found += [f"{container['name']}: {text}" for text in _container(container, pod["spec"])]
    return found


def _pod(pod: Object) -> Iterator[str]:
    spec = pod["spec"]
    security = spec.get("securityContext") or {}
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} must not be true"
    for volume in spec.get("volumes", []):
        for kind in set(volume) - {"name"} - SAFE_VOLUMES:
            yield f"volume {volume['name']}: {kind} is not allowed"
    for sysctl in security.get("sysctls", []):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"sysctl {sysctl['name']} is not allowed"
    if security.get("runAsUser") == 0:
        yield "securityContext.runAsUser must not be 0"
    if (security.get("windowsOptions") or {}).get("hostProcess"):
        yield "windowsOptions.hostProcess must not be true"
    annotations = pod.get("metadata", {}).get("annotations") or {}
    for key, value in annotations.items():
        if key.startswith("container.apparmor") and not value.startswith(("runtime/default", "localhost/")):
            yield f"annotation {key} must be runtime/default or localhost"


def _container(container: Object, spec: Object) -> Iterator[str]:
    own, pod = container.get("securityContext") or {}, spec.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    if own.get("privileged"):
        yield "privileged must not be true"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation must be false"
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities.drop must hold ALL"
    for added in set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"capability {added} must not be added"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot must be true"
    if own.get("runAsUser") == 0:
        yield "runAsUser must not be 0"
    profile = (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield f"seccompProfile must be RuntimeDefault or Localhost, got {profile}"
    if own.get("procMount", "Default") != "Default":
        yield "procMount must be Default"
    if (own.get("seLinuxOptions") or {}).get("type", "") not in ("", "container_t", "container_init_t"):
        yield "seLinuxOptions.type is not allowed"
    if any("hostPort" in port and port["hostPort"] for port in container.get("ports", [])):
        yield "hostPort must not be set"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem must be true"
