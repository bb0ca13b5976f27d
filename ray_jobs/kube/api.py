# SPDX-License-Identifier: Apache-2.0
"""Kubernetes API: reads and writes objects by path, with errors that say what to do."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tadrib.ray_jobs.runs.contact import Unreachable
from tadrib.training.errors import ClusterError, Problem
from tadrib.training.extras import require

Object = dict[str, Any]

logging.getLogger("urllib3.connectionpool").setLevel(
    logging.ERROR
)  # it logs every attempt; the last error is reported here

_SECONDS_TO_ANSWER = 30
_OBJECTS_A_PAGE = 500
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LOGIN = "Log in to the cluster again; `kubectl auth whoami` shows as whom."


class Forbidden(ClusterError):
    """The user lacks the permission for this request."""


class NotFound(ClusterError):
    """There is no such object, or no such kind of object."""


class Refused(ClusterError):
    """The API server rejected the request as invalid or conflicting."""


@dataclass(frozen=True, slots=True)
class Output:
    """The result of a command in a container."""

    exit_code: int
    stdout: bytes
    stderr: str


class KubernetesApi:
    """The cluster of $KUBECONFIG (its current ``context`` by default), or the one that this pod runs in.

    ``namespace``: the one given, else that of the context. Every method raises Unreachable, Forbidden, NotFound or
    Refused, all of which are ClusterErrors.
    """

    def __init__(self, namespace: str | None = None, context: str | None = None) -> None:
        require("kubernetes")
        from kubernetes import client

        configuration, own = _configuration(context)
        configuration.retries = 1
        self._client = client.ApiClient(configuration)
        self.address = str(configuration.host)
        self.namespace = namespace or own

    def get(self, path: str, **query: Any) -> Object:
        return json.loads(self._call("GET", path, query))

    def list(self, path: str, **query: Any) -> list[Object]:
        """All objects, read in pages."""
        found: list[Object] = []
        more = ""
        while True:
            page = self.get(path, limit=_OBJECTS_A_PAGE, **query, **({"continue": more} if more else {}))
            found += page.get("items") or []
            more = (page.get("metadata") or {}).get("continue") or ""
            if not more:
                return found

    def exists(self, path: str) -> bool:
        try:
            self.get(path)
        except NotFound:
            return False
        return True

    def create(self, path: str, thing: Object) -> Object:
        return json.loads(self._call("POST", path, body=thing))

    def patch(self, path: str, change: Object) -> None:
        """Merge ``change`` into the object."""
        self._call("PATCH", path, body=change, content="application/merge-patch+json")

    def delete(self, path: str) -> None:
        self._call("DELETE", path, {"propagationPolicy": "Background"})

    def log(self, pod: str, container: str | None = None) -> bytes:
        """A container's output so far, as much as its node keeps."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        return self._call("GET", path, {"container": container} if container else {})

    def run(self, pod: str, container: str, command: Sequence[str], seconds: float = 60) -> Output:
        """Run a command in a container, and wait up to ``seconds`` for it to end."""
        from kubernetes import client
        from kubernetes.stream import stream

        core = client.CoreV1Api(self._client)
        wanted = {"container": container, "command": list(command), "stdout": True, "stderr": True}
        try:
            socket = stream(
                core.connect_get_namespaced_pod_exec,
                pod,
                self.namespace,
                stdin=False,
                tty=False,
                binary=True,
                _preload_content=False,
                **wanted,
            )
            socket.run_forever(timeout=seconds)
        except Exception as error:
            raise self._broken_exec(error, pod) from error
        stdout, stderr, verdict = socket.read_channel(1), socket.read_channel(2), socket.read_channel(3)
        socket.close()
        if not verdict:
            message = f"a command in it did not end within {seconds:g} seconds."
            raise Unreachable("the head does not answer", [Problem(f"pod {pod}", message)])
        return Output(_exit_code(json.loads(verdict)), stdout, stderr.decode("utf-8", errors="replace"))

    def _broken_exec(self, error: Exception, pod: str) -> ClusterError:
        said = " ".join(str(getattr(error, "reason", None) or error).partition(" -+-+- ")[0].split())[:300]
        problem = Problem(f"pod {pod}", f"no command can be run in it: {said}.")
        kinds = {
            " 401 ": Forbidden,
            " 403 ": Forbidden,
            " 404 ": NotFound,
            " 400 ": Refused,
            " 409 ": Refused,
        }
        kind = next((kind for status, kind in kinds.items() if status in f" {said} "), Unreachable)
        return kind("the head cannot be reached", [problem])

    def _call(
        self,
        method: str,
        path: str,
        query: Object | None = None,
        body: Object | None = None,
        content: str = "application/json",
    ) -> bytes:
        import urllib3

        headers = {"Accept": "application/json, */*", "Content-Type": content}
        request = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=_SECONDS_TO_ANSWER)
            data = answer.read() or b""
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error
        if answer.status >= 300:
            raise self._refusal(answer.status, path, data)
        return data

    def _unreachable(self, error: Exception) -> Unreachable:
        said = " ".join(str(getattr(error, "reason", None) or error).split())[:300]
        action = "Check that `kubectl version` reaches it, or give another --context."
        problem = Problem(self.address, f"does not answer: {said}.", action)
        return Unreachable("the Kubernetes cluster cannot be reached", [problem])

    def _refusal(self, status: int, path: str, data: bytes) -> ClusterError:
        said = _message(data) or f"HTTP status {status}"
        if status == 401:
            problem = Problem(self.address, "did not authenticate you (401).", _LOGIN)
            return Forbidden("the Kubernetes cluster requires a login", [problem])
        if status == 403:
            action = "Ask for the role tadrib-submitter or tadrib-viewer."
            return Forbidden("the Kubernetes cluster refused a request", [Problem("", f"{said}.", action)])
        if status == 404:
            return NotFound("there is no such object on the Kubernetes cluster", [Problem(path, f"{said}.")])
        if status in (429, 502, 503, 504):
            return Unreachable("the Kubernetes cluster is overloaded", [Problem(self.address, f"{said}.")])
        return Refused("the Kubernetes cluster refused a request", [Problem(path, f"{said}.")])


def _configuration(context: str | None) -> tuple[Any, str]:
    """The client's configuration, and the default namespace."""
    import yaml
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        file = os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
        config.load_kube_config(file, context, client_configuration=configuration)
        contexts, current = config.list_kube_config_contexts(file)
        chosen = next((each for each in contexts if each["name"] == context), current)
        return configuration, chosen["context"].get("namespace") or "default"
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        if context is None and not os.environ.get("KUBECONFIG"):
            try:
                config.load_incluster_config(client_configuration=configuration)
                return configuration, _OWN_NAMESPACE.read_text().strip()
            except (config.ConfigException, OSError):
                pass
        action = "Set KUBECONFIG to the cluster's kubeconfig, or --context to one of its contexts."
        problem = Problem("", f"{' '.join(str(error).split())}.", action)
        raise ClusterError("no Kubernetes cluster is configured", [problem]) from None


def _message(data: bytes) -> str:
    """The message of a Status object."""
    try:
        return str(json.loads(data).get("message") or "").rstrip(".")
    except (ValueError, AttributeError):
        return " ".join(data.decode("utf-8", errors="replace").split())[:300]


def _exit_code(verdict: Object) -> int:
    if verdict.get("status") == "Success":
        return 0
    causes = (verdict.get("details") or {}).get("causes") or []
    codes = [cause["message"] for cause in causes if cause.get("reason") == "ExitCode"]
    return int(codes[0]) if codes else 126
