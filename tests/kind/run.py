# SPDX-License-Identifier: Apache-2.0
"""A run on the cluster: its release, its RayJob and pods, and its run directory on the volume."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.charts.helm import CHARTS, write_values
from tests.kind.programs import Cluster, wait
from tests.kind.settings import NAMESPACE, OWN
from tests.kind.volume import Volume

Object = dict[str, Any]

_KINDS = (
    *("rayjobs", "rayclusters", "jobs", "pods", "configmaps", "secrets", "services", "endpointslices"),
    *("serviceaccounts", "networkpolicies", "roles", "rolebindings", "persistentvolumeclaims"),
)
_COLUMNS = r"KIND:.kind,NAME:.metadata.name,RELEASE:.metadata.labels.app\.kubernetes\.io/instance"
_CHART = str(CHARTS / "training-job")


class Run:
    """One run and its release, both of one name, which begins with that of the session."""

    def __init__(self, cluster: Cluster, volume: Volume, name: str) -> None:
        self._cluster, self._volume = cluster, volume
        self.name = f"{OWN}-{name}"
        self.here = ("--namespace", NAMESPACE)

    # --- the release

    def install(self, values: Object, folder: Path, *options: str) -> None:
        path = write_values(values, folder)
        self._cluster.helm("install", self.name, _CHART, *options, "--values", str(path))

    def upgrade(self) -> None:
        self._cluster.helm("upgrade", self.name, _CHART, "--reset-then-reuse-values")

    def helm_test(self) -> None:
        self._cluster.helm("test", self.name, "--timeout", "15m")

    def uninstall(self) -> None:
        """Every object of the release has to go."""
        self._cluster.helm("uninstall", self.name)
        wait(lambda: f"end of {left(self._cluster, self.name)}", self._is_gone, 300)

    def clean_up(self) -> None:
        """For a test that failed; the next one finds room again."""
        self._cluster.helm("uninstall", self.name, "--ignore-not-found", check=False)
        wait(lambda: f"end of {left(self._cluster, self.name)}", self._is_gone, 300)

    def _is_gone(self) -> bool:
        return not left(self._cluster, self.name)

    # --- its objects

    def jobs(self) -> list[Object]:
        return self._cluster.objects("rayjobs", "--selector", f"tadrib/run={self.name}")

    def job(self) -> Object:
        (found,) = self.jobs()
        return found

    def workers(self) -> set[str]:
        selector = f"tadrib/run={self.name},ray.io/node-type=worker"
        return {pod["metadata"]["name"] for pod in self._cluster.objects("pods", "--selector", selector)}

    # --- its directory

    def result(self) -> Object:
        return json.loads(self._volume.read(f"runs/{self.name}/result.json") or "{}")

    def log(self) -> str:
        """What its drivers printed, one start after the other."""
        return self._volume.read(f"runs/{self.name}/logs/driver.log")

    def checkpoints(self) -> list[int]:
        """Steps of the checkpoints that were committed."""
        names = " ".join(self._volume.names(f"runs/{self.name}/checkpoints/*/manifest.json"))
        return sorted(int(step) for step in re.findall(r"/checkpoint-(\d+)/", names))

    def steps(self) -> list[int]:
        """Steps that were logged with a loss, in the order of the file."""
        rows = map(json.loads, self._volume.read(f"runs/{self.name}/metrics.jsonl").splitlines())
        return [row["step"] for row in rows if "grad_norm" in row]

    def wait_for_a_checkpoint(self) -> int:
        """The step of its newest checkpoint, while it runs."""
        steps = wait(f"a checkpoint of {self.name}", self._checkpoints_of_the_unfinished)
        assert not self.result(), f"{self.name} ended too soon: raise STEPS of tests/kind/settings.py"
        return steps[-1]

    def _checkpoints_of_the_unfinished(self) -> list[int]:
        self._require_no_failure()
        return self.checkpoints()

    def wait_until_succeeded(self) -> Object:
        """Its result, once KubeRay says of its one RayJob that it is complete."""
        wait(f"the end of {self.name}", self._is_complete, 1800)
        result = self.result()
        assert result["status"] == "succeeded", result
        return result

    def _is_complete(self) -> bool:
        self._require_no_failure()
        states = [(job.get("status") or {}).get("jobDeploymentStatus") for job in self.jobs()]
        return states == ["Complete"]

    def _require_no_failure(self) -> None:
        for job in self.jobs():
            status = job.get("status") or {}
            is_leaving = job["metadata"].get("deletionTimestamp")
            is_failed = status.get("jobDeploymentStatus") in ("Failed", "ValidationFailed")
            assert is_leaving or not is_failed, f"{self.name} failed: {status.get('message')}"


def left(cluster: Cluster, name: str) -> list[str]:
    """Objects that belong to the release ``name`` by their label, or are named after it."""
    options = ("--ignore-not-found", "--no-headers", "--output", f"custom-columns={_COLUMNS}")
    lines = [line.split() for line in cluster.kubectl("get", ",".join(_KINDS), *options).splitlines()]
    # Helm's own Secret is sh.helm.release.v1.<name>.v<revision>
    own = re.compile(rf"(sh\.helm\.release\.v1\.)?{re.escape(name)}($|[-.])")
    return sorted(f"{kind}/{each}" for kind, each, release in lines if release == name or own.match(each))
