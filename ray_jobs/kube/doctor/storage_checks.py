# SPDX-License-Identifier: Apache-2.0
"""Storage checks: whether all pods of a run can mount its volume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tadrib.ray_jobs.kube.api import KubernetesApi
from tadrib.ray_jobs.kube.doctor.checks import Check, fail, looked_up, ok, warn
from tadrib.ray_jobs.kube.manifests import manifest

Object = dict[str, Any]


def storage_checks(api: KubernetesApi, spec: Object, is_shared: bool) -> Iterator[Check]:
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in spec.get("volumes") or []
        if "persistentVolumeClaim" in volume
    ]
    if not claims:
        yield ok(
            "storage",
            "no volume but an object store, which is not checked from here; `helm test` writes to it",
        )
        return
    path = f"/api/v1/namespaces/{api.namespace}/persistentvolumeclaims/{claims[0]}"
    claim = looked_up(api, path)
    if claim is None:
        action = f"Apply {manifest('base/storage.yaml')}, or correct platform.storage.claim."
        yield fail("storage", f"there is no claim {claims[0]} in {api.namespace}", action)
        return
    yield from _claim(api, claim, is_shared)


def _claim(api: KubernetesApi, claim: Object, is_shared: bool) -> Iterator[Check]:
    name, spec = claim["metadata"]["name"], claim["spec"]
    kind = spec.get("storageClassName")
    modes = spec.get("accessModes") or []
    size = ((claim.get("status") or {}).get("capacity") or {}).get("storage", "")
    if is_shared and "ReadWriteMany" not in modes:
        action = "Pods on more than one node need ReadWriteMany: another storage class, or an object store."
        yield warn("storage", f"claim {name} is {', '.join(modes)}, so all pods must fit on one node", action)
    phase = (claim.get("status") or {}).get("phase")
    if phase == "Bound":
        yield ok("storage", f"claim {name} is bound ({', '.join(modes)}{f', {size}' if size else ''})")
    elif phase == "Lost":
        yield fail(
            "storage", f"claim {name} has lost its volume", "Restore the volume, or create another claim."
        )
    else:
        yield _unbound(api, name, kind)


def _unbound(api: KubernetesApi, name: str, kind: str | None) -> Check:
    if kind is None:
        return fail(
            "storage", f"claim {name} is not bound, and names no storage class", "Name one in the claim."
        )
    storage_class = looked_up(api, f"/apis/storage.k8s.io/v1/storageclasses/{kind}")
    if storage_class is None:
        return fail(
            "storage", f"claim {name} names storage class {kind}, which does not exist", "Correct the claim."
        )
    if storage_class.get("volumeBindingMode") == "WaitForFirstConsumer":
        return ok("storage", f"claim {name} will be bound when its first pod is scheduled ({kind})")
    action = f"See `kubectl describe pvc {name} --namespace {api.namespace}`."
    return fail("storage", f"claim {name} is not bound yet ({kind})", action)
