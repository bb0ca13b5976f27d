# SPDX-License-Identifier: Apache-2.0
"""The checkers of these tests find what they are there to find: each rule of KubeRay and of Pod Security, broken once,
is reported."""

from __future__ import annotations

import copy

import pytest

from tests.charts import crds, kuberay_rules, pod_security
from tests.charts.helm import CHARTS, one, render_file
from tests.charts.pods import templates


def a_rayjob(**changes):
    """A good RayJob with some of its fields, given as dotted paths, set or (None) removed."""
    job = copy.deepcopy(
        one(render_file("training-job", CHARTS / "training-job" / "ci" / "elastic-values.yaml"), "RayJob")
    )
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        at = job
        for parent in parents:
            at = at[int(parent)] if isinstance(at, list) else at.setdefault(parent, {})
        if value is None:
            del at[leaf]
        else:
            at[leaf] = value
    return job


CLUSTER = "spec__rayClusterSpec__"
HEAD = f"{CLUSTER}headGroupSpec__"
GROUP = f"{CLUSTER}workerGroupSpecs__0__"
RULE = {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 5}}
SELF = {"policy": "DeleteSelf", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 1}}
REFUSED_BY_KUBERAY = {
    "longer than 47": {"metadata__name": "a" * 48},
    "not a DNS-1035 label": {"metadata__name": "9a"},
    "suspend needs": {"spec__suspend": True, "spec__shutdownAfterJobFinishes": False},
    "ttlSecondsAfterFinished needs": {"spec__shutdownAfterJobFinishes": False},
    "deletionRules and shutdownAfterJobFinishes exclude": {
        "spec__deletionStrategy": {"deletionRules": [RULE]}
    },
    "a second DeleteCluster": {"spec__deletionStrategy": {"deletionRules": [RULE, RULE]}},
    "workers must go before": {"spec__deletionStrategy": {"deletionRules": [RULE, SELF]}},
    "DeleteWorkers does not go with the autoscaler": {
        "spec__deletionStrategy": {"deletionRules": [{**RULE, "policy": "DeleteWorkers"}]}
    },
    "deletionStrategy needs": {"spec__deletionStrategy": {}},
    "clusterSelector does not go with backoffLimit": {"spec__clusterSelector": {"ray.io/cluster": "x"}},
    "clusterSelector needs ray.io/cluster": {"spec__clusterSelector": {"x": "y"}},
    "one of rayClusterSpec and clusterSelector": {"spec__rayClusterSpec": None},
    "submissionMode HttpMode is unknown": {"spec__submissionMode": "HttpMode"},
    "SidecarMode does not go with submitterPodTemplate": {
        "spec__submissionMode": "SidecarMode",
        "spec__submitterPodTemplate": {},
    },
    "SidecarMode needs restartPolicy Never": {
        "spec__submissionMode": "SidecarMode",
        f"{HEAD}template__spec__restartPolicy": "Always",
    },
    "InteractiveMode does not go with backoffLimit": {"spec__submissionMode": "InteractiveMode"},
    "upgradeStrategy cannot be set": {f"{CLUSTER}upgradeStrategy": {"type": "Recreate"}},
    "resources are set in rayStartParams and in resources": {f"{HEAD}resources": {"CPU": "0"}},
    "rayStartParams.labels": {f"{HEAD}rayStartParams__labels": "a=b"},
    "is not a Kubernetes label": {f"{GROUP}labels": {"a": "b c"}},
    "minReplicas is above": {f"{GROUP}minReplicas": 9},
    "minReplicas and maxReplicas must be set": {
        f"{CLUSTER}enableInTreeAutoscaling": False,
        f"{GROUP}minReplicas": None,
    },
    "idleTimeoutSeconds needs autoscalerOptions.version": {f"{CLUSTER}autoscalerOptions__version": None},
    "priority needs rayVersion": {f"{GROUP}priority": 1, f"{CLUSTER}rayVersion": "2.55.0"},
    "the autoscaler v2 needs restartPolicy Never": {f"{GROUP}template__spec__restartPolicy": "OnFailure"},
    "RAY_REDIS_ADDRESS needs": {
        f"{HEAD}template__spec__containers__0__env": [{"name": "RAY_REDIS_ADDRESS", "value": "x"}]
    },
    "authOptions.mode token needs rayVersion": {f"{CLUSTER}rayVersion": None},
    "enableK8sTokenAuth is not supported": {f"{CLUSTER}authOptions__enableK8sTokenAuth": True},
    "RayClusterNetworkPolicy": {f"{CLUSTER}networkPolicy": {"mode": "DenyAll"}},
    "RayClusterMTLS": {f"{CLUSTER}tlsOptions": {"enabled": True}},
    "RayClusterHistoryServer": {f"{CLUSTER}historyServerOptions": {}},
    "runtimeEnvYAML is not": {"spec__runtimeEnvYAML": "a: [1"},
    "activeDeadlineSeconds must be positive": {"spec__activeDeadlineSeconds": 0},
    "backoffLimit must not": {"spec__backoffLimit": -1},
}


@pytest.mark.parametrize(("said", "changes"), REFUSED_BY_KUBERAY.items(), ids=REFUSED_BY_KUBERAY)
def test_a_broken_rule_of_kuberay_is_found(said, changes):
    assert any(said in problem for problem in kuberay_rules.problems(a_rayjob(**changes)))


def test_a_good_rayjob_breaks_no_rule_of_kuberay():
    assert kuberay_rules.problems(a_rayjob()) == []


CONTAINER = "spec__containers__0__securityContext__"
REFUSED_BY_POD_SECURITY = {
    "hostNetwork must not be true": {"spec__hostNetwork": True},
    "hostPID must not be true": {"spec__hostPID": True},
    "hostPath is not allowed": {"spec__volumes__0__hostPath": {"path": "/"}},
    "sysctl kernel.msgmax": {"spec__securityContext__sysctls": [{"name": "kernel.msgmax", "value": "1"}]},
    "securityContext.runAsUser must not be 0": {"spec__securityContext__runAsUser": 0},
    "privileged must not be true": {f"{CONTAINER}privileged": True},
    "allowPrivilegeEscalation must be false": {f"{CONTAINER}allowPrivilegeEscalation": None},
    "capabilities.drop must hold ALL": {f"{CONTAINER}capabilities": {"drop": ["NET_RAW"]}},
    "capability IPC_LOCK must not be added": {
        f"{CONTAINER}capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    },
    "runAsNonRoot must be true": {f"{CONTAINER}runAsNonRoot": False},
    "seccompProfile must be": {f"{CONTAINER}seccompProfile": {"type": "Unconfined"}},
    "readOnlyRootFilesystem must be true": {f"{CONTAINER}readOnlyRootFilesystem": False},
    "procMount must be Default": {f"{CONTAINER}procMount": "Unmasked"},
    "hostPort must not be set": {"spec__containers__0__ports__0__hostPort": 1},
    "autoscaler: capabilities.drop": {"spec__containers__1__securityContext": {}},
}


@pytest.mark.parametrize(("said", "changes"), REFUSED_BY_POD_SECURITY.items(), ids=REFUSED_BY_POD_SECURITY)
def test_a_pod_that_is_not_restricted_is_found(said, changes):
    pod = copy.deepcopy(dict(templates(a_rayjob()))["head"])
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        at = pod
        for parent in parents:
            at = at[int(parent)] if isinstance(at, list) else at.setdefault(parent, {})
        at[leaf] = value
    assert any(said in violation for violation in pod_security.violations(pod))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec__submissionModee": "HTTPMode"}, "'submissionModee' was unexpected"),
        ({f"{GROUP}minReplicas": "1"}, "'1' is not of type 'integer'"),
        ({f"{HEAD}template__spec__contaners": []}, "'contaners' was unexpected"),
        ({f"{HEAD}template": None}, "'template' is a required property"),
    ],
)
def test_a_mistake_that_the_crd_would_prune_or_refuse_is_found(changes, said):
    assert any(said in error for error in crds.crd_errors(a_rayjob(**changes)))
