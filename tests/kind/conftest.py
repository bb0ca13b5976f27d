# SPDX-License-Identifier: Apache-2.0
"""The cluster of these tests: that of $KUBECONFIG, else kind's as `make kind-up` makes it. Only `make kind-test` (or
`pytest -m cluster`) goes there; a test that fails shows what the cluster shows of its runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tadrib.ray_jobs.kube.helm import find_helm
from tadrib.training.errors import ResourceError
from tests.kind.diagnosis import diagnose
from tests.kind.programs import Cluster
from tests.kind.run import Run
from tests.kind.settings import FOLDER, IMAGE, NAMESPACE, long_spec, platform
from tests.kind.volume import Volume
from tests.kubectl import find_kubectl, kustomize
from tests.marks import skip_unless_asked_for

_CLUSTER = pytest.StashKey[Cluster]()
_TOLD = pytest.StashKey[set[str]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """After those that -m leaves out are gone, so that other tests ask no cluster."""
    skip_unless_asked_for(config, items, "cluster", "a cluster is used by `make kind-test` alone", _why_not)


def _why_not() -> str | None:
    if find_kubectl() is None:
        return "no kubectl: set $KUBECTL, or run `python tools/get_helm.py`"
    try:
        find_helm()
    except ResourceError as error:
        return str(error)
    found = _kubectl("config", "view", "--minify", "--output=jsonpath={.current-context}", *_context())
    if found.returncode:
        return f"no cluster: {found.stderr.strip()} (`make kind-up` makes one, or set KUBECONFIG)"
    found = _kubectl("get", "crd", "rayjobs.ray.io", "rayclusters.ray.io", *_context())
    if found.returncode == 0:
        return None
    said = (found.stderr.strip().splitlines() or ["kubectl said nothing"])[-1]
    if "NotFound" in said:
        return f"no KubeRay operator: {said} (docs/kubernetes.md, section 1)"
    raise pytest.UsageError(f"the cluster cannot be asked: {said}")


def _context() -> list[str]:
    return [] if os.environ.get("KUBECONFIG") else ["--context=kind-tadrib"]


def _kubectl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(find_kubectl()), *words], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory, request) -> Iterator[Cluster]:
    """The cluster, with the namespace as manifests/ make it. One that was not there goes away in the end."""
    kubeconfig = tmp_path_factory.mktemp("cluster") / "kubeconfig"
    view = _kubectl("config", "view", "--minify", "--flatten", "--raw", *_context())
    assert view.returncode == 0, view.stderr
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(view.stdout)
    made = Cluster(kubeconfig, _operator_namespace())
    request.config.stash[_CLUSTER] = made
    address = made.kubectl("config", "view", "--output=jsonpath={.clusters[0].cluster.server}")
    print(f"\n{IMAGE} in namespace {NAMESPACE} of {address}, under {FOLDER} on the volume")
    is_new = not made.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found")
    if is_new:
        made.apply(_in_namespace(NAMESPACE))
    yield made
    if is_new:
        made.kubectl("delete", "namespace", NAMESPACE)


def _operator_namespace() -> str:
    """Where the KubeRay operator is: pods of runs have to let it in."""
    selector = ("--all-namespaces", "--selector=app.kubernetes.io/component=kuberay-operator")
    found = _kubectl(
        "get", "pods", *selector, "--output=jsonpath={.items[0].metadata.namespace}", *_context()
    )
    return found.stdout.strip() if found.returncode == 0 and found.stdout.strip() else "kuberay-system"


def _in_namespace(namespace: str) -> list[dict]:
    """The objects of manifests/overlays/kind, in another namespace."""
    objects = kustomize(str(find_kubectl()), "overlays/kind")
    return [
        {**thing, "metadata": {**thing["metadata"], "name": namespace}}
        if thing["kind"] == "Namespace"
        else {**thing, "metadata": {**thing["metadata"], "namespace": namespace}}
        for thing in objects
    ]


@pytest.fixture(scope="session")
def volume(cluster) -> Iterator[Volume]:
    made = Volume(cluster)
    made.fill()
    yield made
    made.remove()


@pytest.fixture
def a_run(cluster, volume) -> Iterator[Callable[[str], Run]]:
    """Makes a run of a name, which is gone when the test ends, however that does."""
    made: list[Run] = []

    def make(name: str) -> Run:
        made.append(Run(cluster, volume, name))
        return made[-1]

    yield make
    for run in made:
        run.clean_up()


@pytest.fixture
def long_run(cluster, a_run, tmp_path) -> Callable[..., Run]:
    """Installs a run that trains long enough to have something done to it."""

    def install(name: str, workers: int = 1) -> Run:
        run = a_run(name)
        jobs = {run.name: {"spec": long_spec(run.name, workers)}}
        run.install({"jobs": jobs, "platform": platform(cluster.operator_namespace)}, tmp_path)
        return run

    return install


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """A failure shows the cluster; that of a fixture of the whole session does so once."""
    report = yield
    cluster = item.config.stash.get(_CLUSTER, None)
    if cluster is None or not report.failed or not item.get_closest_marker("cluster"):
        return report
    told = item.config.stash.setdefault(_TOLD, set())
    if str(call.excinfo and call.excinfo.value) not in told:
        told.add(str(call.excinfo and call.excinfo.value))
        report.sections.append(("the cluster", diagnose(cluster)))
    return report
