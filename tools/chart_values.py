# SPDX-License-Identifier: Apache-2.0
"""Values: the values of both charts, other than the spec of a run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tools.platform_settings import (
    Deadlines,
    Gpu,
    PlatformSettings,
    Quantity,
    Section,
    Submitter,
)


class JobGpu(Gpu):
    perNode: Annotated[int, Field(ge=1)] = 1
    """GPUs of one node. A pod gets that many, and as many workers, where a spec has no resources.workers_per_node: only
    GPUs of one pod reach each other over NVLink. With 1, each worker has a pod of its own."""


class JobPlatform(PlatformSettings):
    """The settings of the cluster's administrator for runs."""

    gpu: JobGpu = JobGpu()
    submissionMode: Literal["HTTPMode", "K8sJobMode"] = "HTTPMode"
    """HTTPMode: the operator submits the job. K8sJobMode: a submitter pod does, and its log is the job's.
    SidecarMode is not supported, as KubeRay gives its container no security context."""
    restartOn: Literal["upgrade", "change"] = "upgrade"
    """upgrade: each `helm upgrade` restarts every run, which resumes it. change: only a run whose spec,
    platform or `restart` has changed; for releases with several runs, and for GitOps."""
    retries: Annotated[int, Field(ge=0)] = 2
    """Number of retries of a failed run, each on a new cluster; the run resumes from its last checkpoint."""
    ttlSecondsAfterFinished: Annotated[int, Field(ge=0)] = 60
    """Seconds for which pods are kept after the end; results are in the run directory."""
    deadlines: Deadlines = Deadlines()
    submitter: Submitter = Submitter()


class Job(Section):
    """One run: a spec, and settings that differ for it."""

    spec: dict[str, Any] | None = None
    """The spec, verbatim."""
    specFile: str | None = None
    """The text of a spec, from --set-file jobs.NAME.specFile=FILE; it is not changed."""
    restart: str | int = ""
    """Any value; changing it restarts the run if restartOn is `change`."""
    platform: JobPlatform | None = None
    """Settings of `platform` that differ for this run."""


class TrainingJobValues(Section):
    """Values of the chart training-job."""

    jobs: dict[str, Job] = Field(default_factory=dict)
    """The runs, each of which becomes a RayJob and a ConfigMap with its spec."""
    platform: JobPlatform = JobPlatform()


class WorkerGroup(Section):
    """Pods of one kind; each has room for one worker of a run, or for one on each of its GPUs."""

    min: Annotated[int, Field(ge=0)] = 1
    """Minimum number of pods, and their number at the start."""
    max: Annotated[int, Field(ge=1)] = 1
    """Maximum number of pods; if above `min`, the autoscaler adds them when a run requests them."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of each pod."""
    cpu: Quantity = "2"
    """CPU of each pod."""
    memory: Quantity = "8Gi"
    """Memory of each pod."""


class RayClusterValues(Section):
    """Values of the chart ray-cluster."""

    workerGroups: dict[Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$")], WorkerGroup] = (
        Field(default_factory=dict)
    )
    """Groups of worker pods by name. The default is one group, `cpu`, of one to four pods."""
    platform: PlatformSettings = PlatformSettings()
