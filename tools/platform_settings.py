# SPDX-License-Identifier: Apache-2.0
"""PlatformSettings: what the administrator of a cluster decides, as the charts take it under `platform`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|[KMGTPE]i?|k)?$")]
Seconds = Annotated[int, Field(ge=1)]
Labels = dict[str, str]


class Section(BaseModel):
    """Keys of a values file; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Image(Section):
    repository: Text = "tadrib"
    """Image of head, workers, submitter and test; one for all, so that Ray's versions agree."""
    tag: str = ""
    """Tag; empty means the chart's appVersion."""
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    """Digest, used in place of the tag."""
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull the image."""
    pullSecrets: list[Text] = []
    """Names of Secrets with registry credentials."""


class Topology(Section):
    mode: Literal["", "preferred", "required"] = ""
    """Whether workers should or must be close to each other; kueue and volcano read it."""
    level: str = ""
    """Kueue: node label of the level, such as cloud.provider.com/topology-rack. Volcano: highest tier, a number."""


class Queue(Section):
    kind: Literal["none", "kueue", "volcano", "yunikorn", "kai"] = "none"
    """What decides when a job starts."""
    name: str = ""
    """Its queue; for kueue the LocalQueue of the namespace."""
    priority: str = ""
    """Kueue: a WorkloadPriorityClass. Volcano: a PriorityClass."""
    topology: Topology = Topology()


class Dra(Section):
    enabled: bool = False
    """Claim GPUs by Dynamic Resource Allocation (Kubernetes 1.34 or later) in place of an extended resource."""
    deviceClass: Text = "gpu.nvidia.com"
    """DeviceClass that the claims name."""


class Gpu(Section):
    resource: Text = "nvidia.com/gpu"
    """Extended resource that stands for one GPU, also of a slice such as nvidia.com/mig-1g.10gb."""
    runtimeClass: str = ""
    """RuntimeClass of worker pods that have GPUs; seldom needed where the container runtime has CDI."""
    nodeSelector: Labels = {}
    """Nodes for worker pods that have GPUs, such as nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3."""
    tolerations: list[dict[str, Any]] = [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    """Taints that worker pods with GPUs tolerate."""
    dra: Dra = Dra()


class Head(Section):
    cpu: Quantity = "2"
    """CPU of the head, which runs the driver and no worker."""
    memory: Quantity = "8Gi"
    """Memory of the head; below 5Gi Ray's own processes are killed sooner or later."""
    nodeSelector: Labels = {}
    """Nodes for the head: never ones that are reclaimed, as its loss restarts the run."""
    tolerations: list[dict[str, Any]] = []
    """Taints that the head tolerates."""
    affinity: dict[str, Any] = {}
    """Affinity of the head."""


class Workers(Section):
    memory: Quantity = "8Gi"
    """Memory of a worker whose spec names none in resources.memory_per_worker."""
    resources: dict[str, str | int] = {}
    """Further resources of each worker, such as rdma/ib: 1 or vpc.amazonaws.com/efa: 1; a pod gets those of its workers
    together."""
    networks: str = ""
    """Secondary networks, for the annotation k8s.v1.cni.cncf.io/networks."""
    nodeSelector: Labels = {}
    """Nodes for workers, with or without GPUs."""
    tolerations: list[dict[str, Any]] = []
    """Taints that workers tolerate, beside those of `gpu`."""
    affinity: dict[str, Any] = {}
    """Affinity of workers."""


class Submitter(Section):
    cpu: Quantity = "500m"
    """CPU of the submitter pod, which exists with submissionMode K8sJobMode."""
    memory: Quantity = "512Mi"
    """Memory of the submitter pod."""


class ObjectStore(Section):
    endpoint: str = ""
    """URL of an S3 service other than Amazon's, such as https://minio.storage.svc:9000."""
    region: str = ""
    """Region of the object store."""


class Storage(Section):
    claim: str = ""
    """PersistentVolumeClaim (ReadWriteMany) for data, models and runs; mounted at one path in head and workers."""
    mountPath: Annotated[str, Field(pattern=r"^/[^ ]+[^/ ]$")] = "/mnt/tadrib"
    """Where it is mounted. Relative paths of a spec start here."""
    objectStore: ObjectStore = ObjectStore()


class SecretVariable(Section):
    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Environment variable of head and workers, such as HF_TOKEN."""
    secret: Text
    """Name of the Secret."""
    key: Text
    """Key in the Secret."""


class ServiceAccount(Section):
    create: bool = True
    """Make a service account for the pods. It has no rights in the cluster and its token is not mounted."""
    name: str = ""
    """Its name; empty means the name of the release, or `default` where none is made."""
    annotations: Labels = {}
    """Annotations, by which clouds give it access to a bucket."""


class ApiServer(Section):
    cidr: Text = "0.0.0.0/0"
    """Addresses of the API server, which the autoscaler asks for pods."""
    ports: list[int] = [443, 6443]
    """Ports of the API server."""


class NetworkPolicy(Section):
    enabled: bool = True
    """Allow pods what they need and nothing else. Without it the namespace's own policies decide."""
    operatorNamespace: Text = "kuberay-system"
    """Namespace of the KubeRay operator, which has to reach the dashboard."""
    monitoringNamespace: Text = "monitoring"
    """Namespace of Prometheus, which reads the metrics ports."""
    apiServer: ApiServer = ApiServer()
    ingress: list[dict[str, Any]] = []
    """Further ingress rules, such as one for pods that submit to a shared cluster."""
    egress: list[dict[str, Any]] = [
        {
            "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}],
            "ports": [{"port": 443, "protocol": "TCP"}],
        }
    ]
    """Further egress rules. The default is HTTPS to anywhere (hub, object store) but node metadata."""


class Deadlines(Section):
    preRunningSeconds: Seconds | None = None
    """Seconds until all pods must run; null means 1800, or no limit under a gang scheduler, which queues pods."""
    activeSeconds: Seconds | None = 604800
    """Seconds after which a start of the run is ended, finished or not; null means no limit."""


class Grace(Section):
    terminationSeconds: Seconds = 120
    """Seconds from SIGTERM to SIGKILL for head and workers."""
    drainSeconds: Seconds = 90
    """Of these, seconds in which Ray drains a node and the run saves its checkpoint; at least 10 fewer."""


class Autoscaler(Section):
    enabled: bool = True
    """Allow runs with resources.num_workers: {min, max}. A run with a number never gets an autoscaler."""
    idleTimeoutSeconds: Seconds = 300
    """Seconds after which a worker pod without work is removed."""
    cpu: Quantity = "500m"
    """CPU of the autoscaler's container."""
    memory: Quantity = "512Mi"
    """Memory of the autoscaler's container."""


class Auth(Section):
    enabled: bool = True
    """Require a token of whoever talks to Ray. Without it, whoever reaches a Ray port runs code."""
    secret: str = ""
    """Secret with the token under the key auth_token; empty lets KubeRay make one."""


class Shm(Section):
    size: Annotated[str, Field(pattern=r"^([0-9]+(Mi|Gi))?$")] = ""
    """Size of /dev/shm for each worker of a pod, charged to its memory; empty means up to all of it (KubeRay's
    default)."""


class Scratch(Section):
    size: Quantity = "50Gi"
    """Most that a pod may write to its /tmp, the only other place that can be written."""


class Security(Section):
    runAsUser: int | None = 1000
    """Numeric user; null leaves it to the image, or to a platform that assigns one."""
    runAsGroup: int | None = 1000
    """Numeric group."""
    fsGroup: int | None = 1000
    """Group that owns mounted volumes."""


class PlatformSettings(Section):
    """What the administrator of the cluster decides."""

    image: Image = Image()
    rayVersion: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")] = "2.60.0"
    """Version of Ray in the image."""
    queue: Queue = Queue()
    gpu: Gpu = Gpu()
    head: Head = Head()
    workers: Workers = Workers()
    storage: Storage = Storage()
    shm: Shm = Shm()
    scratch: Scratch = Scratch()
    env: dict[str, str | int | bool] = {}
    """Environment of all containers. No credentials: those go into `secrets`."""
    nccl: dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], str | int] = {}
    """Environment of workers, such as NCCL_SOCKET_IFNAME: eth0 or NCCL_IB_HCA: mlx5."""
    secrets: list[SecretVariable] = []
    """Environment variables of head and workers that are read from Secrets."""
    serviceAccount: ServiceAccount = ServiceAccount()
    auth: Auth = Auth()
    networkPolicy: NetworkPolicy = NetworkPolicy()
    grace: Grace = Grace()
    autoscaler: Autoscaler = Autoscaler()
    priorityClass: str = ""
    """PriorityClass of all pods."""
    security: Security = Security()
    podLabels: Labels = {}
    """Further labels of all pods."""
    podAnnotations: Labels = {}
    """Further annotations of all pods."""
