# SPDX-License-Identifier: Apache-2.0
"""Volume: the pod of manifests/kind/volume.yaml under names of this session, through which run directories are read."""

from __future__ import annotations

from typing import Any

import yaml

from tadrib.training.config import METHODS
from tests.kind.programs import Cluster, wait
from tests.kind.settings import CLAIM, FOLDER, IMAGE, NAMESPACE, OWN
from tests.kubectl import MANIFESTS
from tests.tiny import EXAMPLES

Object = dict[str, Any]

POD, ROWS = f"{OWN}-volume", f"{OWN}-rows"
_UNAVAILABLE = ("ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")


def rows() -> Object:
    """A ConfigMap with the bundled training rows of every method, each under the name that its preset reads."""
    data = {
        f"{method}.jsonl": (EXAMPLES / f"{method}_train.jsonl").read_text(encoding="utf-8")
        for method in METHODS
    }
    metadata = {"name": ROWS, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod() -> Object:
    """The pod, which fills the folder of this session and no other place of the volume."""
    made = yaml.safe_load((MANIFESTS / "kind" / "volume.yaml").read_text())
    made["metadata"] |= {"name": POD, "namespace": NAMESPACE}
    spec = made["spec"]
    spec["initContainers"][0]["env"] = [{"name": "FOLDER", "value": FOLDER}]
    for container in (*spec["initContainers"], *spec["containers"]):
        container["image"] = IMAGE
    named = {volume["name"]: volume for volume in spec["volumes"]}
    named["storage"]["persistentVolumeClaim"]["claimName"] = CLAIM
    named["rows"]["configMap"]["name"] = ROWS
    return made


class Volume:
    """Files of this session on the volume; paths start at its folder there."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def fill(self) -> None:
        self._cluster.apply([rows(), pod()])
        wait("a pod on the volume, with the tiny model", self._is_ready)

    def _is_ready(self) -> bool:
        status = self._cluster.objects("pods", f"--field-selector=metadata.name={POD}")[0].get("status") or {}
        for each in status.get("initContainerStatuses") or []:
            states = each.get("state") or {}, each.get("lastState") or {}
            waiting = states[0].get("waiting") or {}
            assert waiting.get("reason") not in _UNAVAILABLE, f"{IMAGE}: {waiting.get('message')}"
            failed = any((state.get("terminated") or {}).get("exitCode") for state in states)
            assert not failed, self._cluster.kubectl("logs", POD, "--container", "fill", check=False)
        conditions = status.get("conditions") or []
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def read(self, path: str) -> str:
        """The text of a file; empty where there is none."""
        return self._shell(f"cat {FOLDER}/{path} 2> /dev/null || true")

    def names(self, path: str) -> list[str]:
        return self._shell(f"ls {FOLDER}/{path} 2> /dev/null || true").split()

    def remove(self) -> None:
        self._shell(f"rm -rf {FOLDER}; rmdir cluster-test 2> /dev/null || true")
        self._cluster.kubectl("delete", f"pod/{POD}", f"configmap/{ROWS}", "--ignore-not-found")

    def _shell(self, line: str) -> str:
        return self._cluster.kubectl("exec", POD, "--container", "volume", "--", "sh", "-c", line)
