# SPDX-License-Identifier: Apache-2.0
"""Preflight: checks every node for what would fail once training has begun, before any worker starts."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from tadrib.ray_jobs.disk import human, least_bytes
from tadrib.ray_jobs.driver.capacity import holds_workers
from tadrib.training.config import JobSpec
from tadrib.training.config.locations import is_url
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.model.adapter_folder import base_of
from tadrib.training.model.source import ModelSource
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.versions import versions

_SECONDS_TO_ANSWER = 120  # a node may have to start a process first


def check_nodes(spec: JobSpec, run: RunDirectory) -> None:
    """Look at every node that can hold workers, except the driver's own, all at the same time.

    A node must have the driver's versions; see the same run directory, writable and with space for the run; and have
    the local paths that workers load. Nodes that join later are not checked.

    Raises ResourceError with every problem of every node.
    """
    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["NodeID"] != here and holds_workers(node, spec.resources)]
    if not nodes:
        return
    # a file with a random name: a node that has a folder of the same path is not fooled
    token = run.path / f".preflight-{uuid.uuid4().hex}"
    is_shared = not is_url(spec.run_dir)
    wanted = {
        "versions": versions(),
        "token": str(token) if is_shared else None,
        "paths": list(_local_paths(spec)),
    }
    token.touch()
    try:
        # all tasks are started before the first answer is awaited
        answers = {node["NodeID"]: _ask(node, wanted) for node in nodes}
        problems = [
            problem
            for node in nodes
            for problem in _problems(node, answers[node["NodeID"]], wanted, spec, run)
        ]
    finally:
        token.unlink(missing_ok=True)
    if problems:
        raise ResourceError("the cluster's nodes cannot run this", problems)


def _local_paths(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Keys and absolute paths of what every worker reads. Only the driver reads the dataset."""
    for key, value, mark in spec.paths():
        if mark.reader != "driver" and mark.must_exist and Path(value).is_absolute():
            yield key, value
    for source in (ModelSource.start(spec.config), ModelSource.reference(spec.config)):
        if source is None or source.folder is None:
            continue
        base = base_of(source).folder
        if base is not None and base != source.folder and base.is_absolute():
            yield f"the base model of {source.key}", str(base)


def _ask(node: dict[str, Any], wanted: dict[str, Any]) -> Any:
    """Start `look` on the node. It is a nested function so that Ray sends its code: the node may lack this package."""

    def look(wanted: dict[str, Any]) -> dict[str, Any]:
        import importlib.util
        import os
        import platform
        import shutil
        from importlib import metadata

        found: dict[str, Any] = {"versions": {"python": platform.python_version()}}
        for package in wanted["versions"]:
            try:
                found["versions"].setdefault(package, metadata.version(package))
            except metadata.PackageNotFoundError:
                continue
        found["has_tadrib"] = importlib.util.find_spec("tadrib") is not None
        found["missing"] = [(key, path) for key, path in wanted["paths"] if not os.path.exists(path)]
        token = wanted["token"]
        if token is None:
            return found
        found["sees_run"] = os.path.exists(token)
        if found["sees_run"]:
            try:
                with open(f"{token}-{os.getpid()}", "w") as file:
                    file.write("tadrib")
                os.remove(file.name)
            except OSError as error:
                found["cannot_write"] = error.strerror or str(error)
            found["free"] = shutil.disk_usage(os.path.dirname(token)).free
        return found

    there = {"ray.io/node-id": node["NodeID"]}
    # without CPUs, so that it also runs on a node that is fully reserved
    task: Any = ray.remote(num_cpus=0, max_retries=0, label_selector=there)(look)
    return task.remote(wanted)


def _problems(
    node: dict[str, Any], answer: Any, wanted: dict[str, Any], spec: JobSpec, run: RunDirectory
) -> Iterator[Problem]:
    where = f"node {node['NodeManagerAddress']} ({node['NodeID'][:8]})"
    try:
        found = ray.get(answer, timeout=_SECONDS_TO_ANSWER)
    except GetTimeoutError:
        message = f"did not answer within {_SECONDS_TO_ANSWER} seconds."
        yield Problem(where, message, "Check its logs, or remove it from the cluster (`ray stop` there).")
        return
    except RayError as error:
        message = f"cannot run a task: {str(error).strip().splitlines()[-1][:300]}."
        yield Problem(where, message, "Check its logs, or remove it from the cluster (`ray stop` there).")
        return
    yield from _version_problems(where, found, wanted["versions"])
    for key, path in found["missing"]:
        yield Problem(where, f"has no {path} ({key}).", "Put it on storage that every node mounts there.")
    if wanted["token"] is None:
        return
    if not found["sees_run"]:
        message = f"does not see the run directory {run}, which the driver has just created."
        action = (
            "Set storage_path to a folder that every node mounts at the same path, or to an object store."
        )
        yield Problem(where, message, action)
    elif "cannot_write" in found:
        message = f"cannot write to the run directory {run}: {found['cannot_write']}."
        yield Problem(where, message, "Mount it writable for the user that runs Ray there.")
    elif found["free"] < (needed := least_bytes(spec.config)):
        message = f"has {human(found['free'])} free in {run}, but the run writes at least {human(needed)}."
        yield Problem(where, message, "Free some space, or choose another storage_path.")


def _version_problems(where: str, found: dict[str, Any], ours: dict[str, str]) -> Iterator[Problem]:
    action = "Use one image or environment for all nodes."
    if not found["has_tadrib"]:
        yield Problem(where, "has no tadrib installed.", action)
    different = [
        f"{package} {found['versions'].get(package, 'missing')} (driver: {version})"
        for package, version in ours.items()
        if found["versions"].get(package) != version
    ]
    if different:
        yield Problem(where, f"has versions that differ from the driver's: {', '.join(different)}.", action)
