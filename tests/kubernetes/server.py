# SPDX-License-Identifier: Apache-2.0
"""A small API server over HTTP that holds objects at Kubernetes' paths: get, list with selectors and pages, create,
merge patch, apply, delete, pod logs, and commands inside of containers over a WebSocket.

It has no controllers: what would change by itself is changed by a test, through ``on_request``.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.kubernetes import protobuf
from tests.kubernetes.discovery import KINDS, discovery

Object = dict[str, Any]

Command = Callable[[str, list[str]], tuple[int, bytes, str]]


class ApiServer:
    """Objects by path, and what a test wants to go wrong: ``refusals`` gives a status to paths with a prefix."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.groups = set(KINDS)
        self.refusals: dict[str, int] = {}
        self.logs: dict[str, bytes] = {}
        self.denied: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.version = "v1.34.1"
        self.token = "a-token"  # Helm sends none without TLS
        self.on_request: Callable[[str, str], None] = lambda method, path: None
        self.command: Command = lambda pod, command: (127, b"", f"{command[0]}: not found")
        self.lock = threading.RLock()
        self.address = ""

    def add(self, *things: Object) -> None:
        for thing in things:
            self.objects[path_of(thing)] = copy.deepcopy(thing)

    def kubeconfig(self, path: Path, namespace: str = "team-a") -> Path:
        cluster = {"name": "test", "cluster": {"server": self.address}}
        user = {"name": "me", "user": {"token": "a-token"}}
        context = {"name": "test", "context": {"cluster": "test", "user": "me", "namespace": namespace}}
        other = {"name": "other", "context": {"cluster": "test", "user": "me", "namespace": "team-b"}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "test", "preferences": {}}
        path.write_text(
            yaml.safe_dump({**config, "clusters": [cluster], "users": [user], "contexts": [context, other]})
        )
        return path


def path_of(thing: Object) -> str:
    version, kind = thing["apiVersion"], thing["kind"]
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural, _, is_namespaced = next(each for each in KINDS[prefix] if each[1] == kind)
    meta = thing["metadata"]
    place = f"/namespaces/{meta.get('namespace', 'team-a')}" if is_namespaced else ""
    return f"{prefix}{place}/{plural}/{meta['name']}"


@contextmanager
def serving() -> Iterator[ApiServer]:
    server = ApiServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": server}))
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Tests read `ApiServer.requests`."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        with self.api.lock:
            self.api.requests.append((self.command, url.path))
            self.api.on_request(self.command, url.path)
            if self.api.token and self.headers.get("Authorization") != f"Bearer {self.api.token}":
                return self._fail(401, "Unauthorized")
            for prefix, status in self.api.refusals.items():
                if url.path.startswith(prefix):
                    return self._fail(status, _refusal(status, url.path))
            if "exec" in url.path.split("/")[-1:]:
                return self._exec(url.path.split("/")[-2], query["command"])
            return self._answer(url.path, query, body)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve

    def _answer(self, path: str, query: Object, body: bytes) -> None:
        known = discovery(path, self.api.groups, self.api.version) if self.command == "GET" else None
        if known is not None:
            return self._send(200, known)
        if path.endswith("/log"):
            log = self.api.logs.get(path.split("/")[-2])
            return self._fail(404, "no such pod") if log is None else self._send(200, log)
        group = next((each for each in KINDS if path.startswith(f"{each}/")), None)
        if group is None or group not in self.api.groups:
            return self._fail(404, "the server could not find the requested resource")
        plurals = {plural for plural, _, _ in KINDS[group]}
        if path.rsplit("/", 1)[1] in plurals:
            return self._collection(path, query, body)
        return self._thing(path, body)

    def _collection(self, path: str, query: Object, body: bytes) -> None:
        if self.command == "POST":
            return self._create(path, _parsed(body))
        found = [thing for at, thing in sorted(self.api.objects.items()) if _is_in(at, path)]
        for selector in query.get("labelSelector", []):
            found = [each for each in found if _has_labels(each, selector)]
        for selector in query.get("fieldSelector", []):
            key, _, value = selector.partition("=")
            found = [each for each in found if _field(each, key) == value]
        start, limit = int(query.get("continue", ["0"])[0]), int(query.get("limit", ["500"])[0])
        more = {"continue": str(start + limit)} if start + limit < len(found) else {}
        group = next(each for each in KINDS if path.startswith(f"{each}/"))
        kind = next(kind for plural, kind, _ in KINDS[group] if plural == path.rsplit("/", 1)[1])
        page = {"kind": f"{kind}List", "apiVersion": group.removeprefix("/apis/").removeprefix("/api/")}
        return self._send(200, {**page, "metadata": more, "items": found[start : start + limit]})

    def _create(self, path: str, thing: Object) -> None:
        if path.endswith("/selfsubjectaccessreviews"):
            wanted = thing["spec"]["resourceAttributes"]
            name = f"{wanted['verb']} {wanted['resource']}"
            return self._send(201, {**thing, "status": {"allowed": name not in self.api.denied}})
        at = f"{path}/{thing['metadata']['name']}"
        if at in self.api.objects:
            return self._fail(409, f"{at} already exists")
        return self._send(201, self._store(at, thing))

    def _thing(self, path: str, body: bytes) -> None:
        thing = self.api.objects.get(path)
        is_apply = self.command == "PATCH" and "apply-patch" in (self.headers.get("Content-Type") or "")
        if is_apply or (self.command == "PUT" and thing is not None):
            return self._send(200, self._store(path, _parsed(body)))
        if thing is None:
            return self._fail(404, f'{path.rsplit("/", 2)[1]} "{path.rsplit("/", 1)[1]}" not found')
        if self.command == "PATCH":
            _merge(thing, json.loads(body))
        if self.command == "DELETE":
            del self.api.objects[path]
            return self._send(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        return self._send(200, thing)

    def _store(self, path: str, thing: Object) -> Object:
        number = len(self.api.requests)
        known = {
            "uid": f"uid-{number}",
            "resourceVersion": str(number),
            "creationTimestamp": "2026-11-24T11:59:55Z",
        }
        thing["metadata"] = {
            **known,
            **(self.api.objects.get(path) or {}).get("metadata", {}),
            **thing["metadata"],
        }
        self.api.objects[path] = thing
        return thing

    def _send(self, status: int, content: Any) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(content, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, status: int, message: str) -> None:
        reasons = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists"}
        self._send(
            status,
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "code": status,
                "reason": reasons.get(status, "InternalError"),
                "message": message,
            },
        )

    def _exec(self, pod: str, command: list[str]) -> None:
        """RFC 6455, and Kubernetes' channels: 1 standard output, 2 standard error, 3 how it ended."""
        if not any(at.endswith(f"/pods/{pod}") for at in self.api.objects):
            self._fail(404, f'pods "{pod}" not found')
            return
        key = (self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key).digest()).decode())
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()
        code, output, errors = self.api.command(pod, command)
        cause = {"reason": "ExitCode", "message": str(code)}
        verdict = (
            {"status": "Success"} if code == 0 else {"status": "Failure", "details": {"causes": [cause]}}
        )
        for channel, data in ((1, output), (2, errors.encode()), (3, json.dumps(verdict).encode())):
            if data:
                self._frame(2, bytes([channel]) + data)
        self._frame(8, struct.pack("!H", 1000))
        self.close_connection = True

    def _frame(self, opcode: int, data: bytes) -> None:
        size = (
            bytes([len(data)])
            if len(data) < 126
            else b"\x7e" + struct.pack("!H", len(data))
            if len(data) < 65536
            else b"\x7f" + struct.pack("!Q", len(data))
        )
        self.wfile.write(bytes([0x80 | opcode]) + size + data)
        self.wfile.flush()


def _refusal(status: int, path: str) -> str:
    if status != 403:
        return f"the test answers {status}"
    known = {plural for kinds in KINDS.values() for plural, _, _ in kinds}
    kind = next((part for part in reversed(path.split("/")) if part in known), path)
    return f'{kind} is forbidden: User "me" cannot do this to resource "{kind}" in the namespace "team-a"'


def _parsed(body: bytes) -> Object:
    return protobuf.config_map(body) if body.startswith(protobuf.MAGIC) else yaml.safe_load(body)


def _is_in(at: str, collection: str) -> bool:
    """Whether an object is in a collection, or in that of all namespaces."""
    parent, _, _ = at.rpartition("/")
    if parent == collection:
        return True
    before, _, after = parent.partition("/namespaces/")
    return bool(after) and f"{before}/{after.partition('/')[2]}" == collection


def _has_labels(thing: Object, selector: str) -> bool:
    labels = thing["metadata"].get("labels") or {}
    for part in selector.split(","):
        key, equals, value = part.partition("=")
        if (equals and labels.get(key) != value) or (not equals and key not in labels):
            return False
    return True


def _field(thing: Object, key: str) -> Any:
    for part in key.split("."):
        thing = thing.get(part) or {}
    return thing


def _merge(thing: Object, change: Object) -> None:
    """RFC 7386."""
    for key, value in change.items():
        if value is None:
            thing.pop(key, None)
        elif isinstance(value, dict) and isinstance(thing.get(key), dict):
            _merge(thing[key], value)
        else:
            thing[key] = value
