# SPDX-License-Identifier: Apache-2.0
"""A real S3-protocol server on a socket, and a way to it that fails when told to.

The server runs in an environment of its own, as its client library contradicts that of kubernetes.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SERVER = "moto[s3,server]==5.1.22"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def s3_server() -> Iterator[int]:
    """The port of a server with the bucket ``bucket``; skips where it cannot be installed."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv, which installs the S3 server, is missing")
    port = free_port()
    command = [uv, "tool", "run", "--quiet", "--python", sys.executable, "--from", SERVER, "moto_server"]
    # a pipe that nobody reads would stop the server once it is full
    with tempfile.TemporaryFile() as log:
        # uv stays in front of the server, so both are ended as a group
        process = subprocess.Popen(
            [*command, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log, start_new_session=True
        )
        try:
            if not _answers(port, process):
                log.seek(0)
                pytest.skip(f"the S3 server did not start: {log.read().decode()[-300:]}")
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("PUT", "/bucket")
            assert connection.getresponse().status == 200
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int, process: subprocess.Popen) -> bool:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        time.sleep(0.2)
    return False


class Way:
    """A reverse proxy to the server; ``failures`` further uploads get a 503, half of them after taking the body.

    `close` and `open` are the server's end and restart as a client sees them: the port refuses, then answers again.
    A ``refusal``, status and code, is what every request gets while it is set. While the way is `stalled`, it takes
    requests and answers none.
    """

    def __init__(self, server: int) -> None:
        self.server, self.port = server, free_port()
        self.failures = self.failed = 0
        self.refusal: tuple[int, str] | None = None
        self.held = 0
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self.open()

    @property
    def query(self) -> str:
        return f"endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def open(self) -> None:
        way = self

        class Handler(_Forward):
            owner = way

        self._http = _Server(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def pass_by(self) -> None:
        """Return once requests are answered."""
        if not self._flows.is_set():
            with self._lock:
                self.held += 1
            self._flows.wait()

    def takes_failure(self) -> bool:
        with self._lock:
            if self.failures:
                self.failures -= 1
                self.failed += 1
                return True
        return False


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """A client that left while its request was held is none."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Forward(BaseHTTPRequestHandler):
    owner: Way
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        self.owner.pass_by()
        uploading = self.command in ("PUT", "POST")
        fails = uploading and self.owner.takes_failure()
        if fails and self.owner.failed % 2:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)  # in mid-upload, before the body was read
            return
        body = self._body()
        if self.owner.refusal is not None:
            status, code = self.owner.refusal
            text = f"<Error><Code>{code}</Code><Message>The token has expired.</Message></Error>"
            self._answer(status, {"Content-Type": "application/xml"}, text.encode())
            return
        if fails:
            self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        server = http.client.HTTPConnection("127.0.0.1", self.owner.server)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("expect", "transfer-encoding")}
        server.request(self.command, self.path, body or None, headers)
        reply = server.getresponse()
        self._answer(reply.status, dict(reply.getheaders()), reply.read())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(key, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    def log_message(self, *_: object) -> None:
        """A test prints no access log."""
