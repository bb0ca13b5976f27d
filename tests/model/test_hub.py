# SPDX-License-Identifier: Apache-2.0
"""Models of the Hub, from a server on this machine that speaks as much of its protocol as a download needs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

COMMIT = "a" * 40
FETCH = """
import sys
from tadrib.training.config import SFTConfig
from tadrib.training.errors import TadribError
from tadrib.training.model.hub import fetch_models
try:
    fetch_models(SFTConfig(model_name=sys.argv[1], dataset_path="rows.jsonl", use_lora=False))
except TadribError as error:
    sys.exit(str(error))
"""

FETCH_IN_A_WORKER = """
import sys
from tadrib.ray_jobs.worker import models
from tadrib.training.config import SFTConfig
from tadrib.training.errors import TadribError
models.fetch(SFTConfig(model_name=sys.argv[1], dataset_path="rows.jsonl", use_lora=False))
try:
    models.require()
except TadribError as error:
    sys.exit(f"as training begins: {error}")
"""


class Hub(ThreadingHTTPServer):
    """One model, `team/tiny`; ``sent`` counts the files that went out whole."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.files, self.sent = files, Counter[str]()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Request(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if path.startswith("/api/models/team/tiny/revision/"):
            names = [{"rfilename": name} for name in self.server.files]
            self._send(json.dumps({"id": "team/tiny", "sha": COMMIT, "siblings": names}).encode(), {})
        elif path.startswith(f"/api/models/team/tiny/tree/{COMMIT}"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.server.files.items()
            ]
            self._send(json.dumps(tree).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/team/tiny/resolve/") and (name := path.split("/", 5)[5]) in self.server.files:
            content = self.server.files[name]
            if self.command == "GET":
                time.sleep(0.5)  # long enough that others ask meanwhile
                self.server.sent[name] += 1
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self._send(content, {"ETag": etag, "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})
        else:
            code = "EntryNotFound" if path.startswith("/team/tiny") else "RepoNotFound"
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(
        {
            "config.json": b'{"model_type": "qwen2"}',
            "tokenizer.json": b"{}",
            "model.safetensors": b"weights" * 1000,
            "pytorch_model.bin": b"weights, pickled",
            "consolidated.safetensors": b"the same weights again",
            "onnx/model.json": b"{}",
        }
    )
    yield hub
    hub.shutdown()


def fetching(hub: Hub, cache: Path, model: str = "team/tiny", code: str = FETCH) -> subprocess.Popen[str]:
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, **variables}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.Popen(
        [sys.executable, "-c", code, model], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_of_the_workers_of_a_machine_one_fetches_what_training_reads(hub, tmp_path):
    workers = [fetching(hub, tmp_path) for _ in range(3)]
    ends = [(worker.communicate()[1], worker.returncode) for worker in workers]

    assert [code for _, code in ends] == [0, 0, 0], ends
    assert hub.sent == {"config.json": 1, "tokenizer.json": 1, "model.safetensors": 1}
    folder = tmp_path / "hub" / "models--team--tiny" / "snapshots" / COMMIT
    assert sorted(path.name for path in folder.iterdir()) == sorted(hub.sent)


@pytest.mark.parametrize(("code", "begins"), [(FETCH, ""), (FETCH_IN_A_WORKER, "as training begins: ")])
def test_a_model_that_the_hub_lacks_is_named_also_where_a_worker_begins(code, begins, hub, tmp_path):
    worker = fetching(hub, tmp_path, "team/tny", code)
    error = worker.communicate()[1]

    assert worker.returncode == 1
    assert error.startswith(f"{begins}the model cannot be loaded: 1 problem")
    assert "model_name: Hub name team/tny: " in error
    assert "Check the spelling, network access and HF_TOKEN" in error


def test_a_model_is_taken_from_a_cache_that_cannot_be_written(hub, tmp_path):
    assert fetching(hub, tmp_path).wait() == 0
    shutil.rmtree(tmp_path / "hub" / ".locks")
    (tmp_path / "hub" / ".locks").write_text("no folder")
    worker = fetching(hub, tmp_path)

    assert (worker.communicate()[1], worker.returncode) == ("", 0)


def test_a_cache_that_cannot_be_written_is_named(hub, tmp_path):
    (tmp_path / "hub").write_text("no folder")
    worker = fetching(hub, tmp_path)
    error = worker.communicate()[1]

    assert worker.returncode == 1
    assert f"{tmp_path / 'hub'}: cannot keep team/tiny: " in error
    assert "Free some space, or set HF_HOME" in error
