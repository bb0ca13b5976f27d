# SPDX-License-Identifier: Apache-2.0
"""PlatformSettings: the settings of a cluster's administrator, which both charts take under `platform`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|[KMGTPE]i?|k)?$")]
Seconds = Annotated[int, Field(ge=1)]
Labels = dict[str, str]


class Section(BaseModel):
    """Keys of a values file; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Image(Section):
    repository: Text = "tadrib"
    """Image of head, workers, submitter and test: the same for all, so that Ray's versions agree."""
    tag: str = ""
    """Tag; empty means the chart's appVersion."""
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    """Digest, used instead of the tag."""
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull the image."""
    pullSecrets: list[Text] = []
    """Names of Secrets with registry credentials."""


class Topology(Section):
    mode: Literal["", "preferred", "required"] = ""
    """Whether workers should or must be close to each other; read by kueue and volcano."""
    level: str = ""
    """Kueue: node label of the level, such as cloud.provider.com/topology-rack. Volcano: highest tier, a number."""


class Queue(Section):
    kind: Literal["none", "kueue", "volcano", "yunikorn", "kai"] = "none"
    """The scheduler that decides when a job starts."""
    name: str = ""
    """Name of the queue; for kueue, a LocalQueue of the namespace."""
    priority: str = ""
    """Kueue: a WorkloadPriorityClass. Volcano: a PriorityClass."""
    topology: Topology = Topology()


class Dra(Section):
    enabled: bool = False
    """Claim GPUs by Dynamic Resource Allocation (Kubernetes 1.34 or later) instead of an extended resource."""
    deviceClass: Text = "gpu.nvidia.com"
    """DeviceClass of the claims."""


class Gpu(Section):
    resource: Text = "nvidia.com/gpu"
    """Extended resource for one GPU, or for a slice of one, such as nvidia.com/mig-1g.10gb."""
    runtimeClass: str = ""
    """RuntimeClass of worker pods with GPUs; rarely needed if the container runtime supports CDI."""
    nodeSelector: Labels = {}
    """Nodes for worker pods with GPUs, such as nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3."""
    tolerations: list[dict[str, Any]] = [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    """Taints that worker pods with GPUs tolerate."""
    dra: Dra = Dra()


class Head(Section):
    cpu: Quantity = "2"
    """CPU of the head, which runs the driver but no worker."""
    memory: Quantity = "8Gi"
    """Memory of the head; below 5Gi, Ray's own processes are eventually killed."""
    nodeSelector: Labels = {}
    """Nodes for the head; not spot nodes, as losing the head restarts the run."""
    tolerations: list[dict[str, Any]] = []
    """Taints that the head tolerates."""
    affinity: dict[str, Any] = {}
    """Affinity of the head."""


class Workers(Section):
    memory: Quantity = "8Gi"
    """Memory of a worker whose spec has no resources.memory_per_worker."""
    resources: dict[str, str | int] = {}
    """Further resources of each worker, such as rdma/ib: 1 or vpc.amazonaws.com/efa: 1; a pod gets those of its workers
    together."""
    networks: str = ""
    """Secondary networks, for the annotation k8s.v1.cni.cncf.io/networks."""
    nodeSelector: Labels = {}
    """Nodes for workers, with or without GPUs."""
    tolerations: list[dict[str, Any]] = []
    """Taints that workers tolerate, in addition to those of `gpu`."""
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
    """Mount path of the volume. Relative paths of a spec start here."""
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
    """Create a service account for the pods. It has no rights in the cluster, and its token is not mounted."""
    name: str = ""
    """Its name; empty means the name of the release, or `default` if none is created."""
    annotations: Labels = {}
    """Annotations, for instance those by which a cloud grants access to a bucket."""


class ApiServer(Section):
    cidr: Text = "0.0.0.0/0"
    """Addresses of the API server, from which the autoscaler requests pods."""
    ports: list[int] = [443, 6443]
    """Ports of the API server."""


class NetworkPolicy(Section):
    enabled: bool = True
    """Allow pods only the connections they need. Without it, the namespace's own policies apply."""
    operatorNamespace: Text = "kuberay-system"
    """Namespace of the KubeRay operator, which must be able to reach the dashboard."""
    monitoringNamespace: Text = "monitoring"
    """Namespace of Prometheus, which scrapes the metrics ports."""
    apiServer: ApiServer = ApiServer()
    ingress: list[dict[str, Any]] = []
    """Further ingress rules, such as one for pods that submit to a shared cluster."""
    egress: list[dict[str, Any]] = [
        {
            "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}],
            "ports": [{"port": 443, "protocol": "TCP"}],
        }
    ]
    """Further egress rules. The default is HTTPS to anywhere (hub, object store) except node metadata."""


class Deadlines(Section):
    preRunningSeconds: Seconds | None = None
    """Seconds within which all pods must run; null means 1800, or no limit with a gang scheduler, which queues pods."""
    activeSeconds: Seconds | None = 604800
    """Seconds after which a RayJob is ended, even if it has not finished; null means no limit."""


class Grace(Section):
    terminationSeconds: Seconds = 120
    """Seconds from SIGTERM to SIGKILL for head and workers."""
    drainSeconds: Seconds = 90
    """Seconds of these in which Ray drains a node and the run saves its checkpoint; at least 10 fewer."""


class Autoscaler(Section):
    enabled: bool = True
    """Allow runs with resources.num_workers: {min, max}. A run with a fixed number never gets an autoscaler."""
    idleTimeoutSeconds: Seconds = 300
    """Seconds after which a worker pod without work is removed."""
    cpu: Quantity = "500m"
    """CPU of the autoscaler's container."""
    memory: Quantity = "512Mi"
    """Memory of the autoscaler's container."""


class Auth(Section):
    enabled: bool = True
    """Require a token from every client of Ray. Without it, anybody who can reach a Ray port can execute code."""
    secret: str = ""
    """Secret with the token under the key auth_token; if empty, KubeRay creates one."""


class Shm(Section):
    size: Annotated[str, Field(pattern=r"^([0-9]+(Mi|Gi))?$")] = ""
    """Size of /dev/shm for each worker of a pod, charged to its memory; empty means up to all of it (KubeRay's
    default)."""


class Scratch(Section):
    size: Quantity = "50Gi"
    """Size limit of a pod's /tmp, the only writable folder beside the storage."""


class Security(Section):
    runAsUser: int | None = 1000
    """Numeric user; null means that of the image, or one that the platform assigns."""
    runAsGroup: int | None = 1000
    """Numeric group."""
    fsGroup: int | None = 1000
    """Group that owns mounted volumes."""


class PlatformSettings(Section):
    """The settings of the cluster's administrator."""

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
