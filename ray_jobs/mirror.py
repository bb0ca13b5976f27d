# SPDX-License-Identifier: Apache-2.0
"""Mirror: uploads files that grow during a run to its object store, every few seconds and at the end."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import REPORT

_SECONDS_BETWEEN_PUSHES = 5.0
_LARGE = 4 * 1024**2  # bytes; a store only takes whole files, so a large log is uploaded less often
_PUSHES_BETWEEN_LARGE = 12


class Mirror:
    """Uploads those of ``files()`` that have changed: in the background within the context, and once more on exit.

    Does nothing for a run on a file system. An error of the store is written to the log, and the upload is retried at
    the next interval: training does not stop because a log could not be uploaded.
    """

    def __init__(self, run: RunDirectory, files: Callable[[], Iterable[Path]]) -> None:
        self._run, self._files = run, files
        self._pushed: dict[Path, tuple[int, int]] = {}
        self._done = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._thread = threading.Thread(target=self._keep_pushing, name="mirror", daemon=True)

    def __enter__(self) -> Mirror:
        if self._run.store is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._run.store is not None:
            self.push()

    def push(self, large_too: bool = True) -> None:
        """Upload what has changed now."""
        with self._one_at_a_time:
            for file in self._files():
                try:
                    self._push(file, large_too)
                except Exception:
                    traceback.print_exc()

    def _push(self, file: Path, large_too: bool) -> None:
        if not file.is_file():
            return
        info = file.stat()
        seen = (info.st_mtime_ns, info.st_size)
        if self._pushed.get(file) != seen and (large_too or info.st_size < _LARGE):
            self._run.push(file)
            self._pushed[file] = seen

    def _keep_pushing(self) -> None:
        pushes = 0
        while not self._done.wait(_SECONDS_BETWEEN_PUSHES):
            pushes += 1
            self.push(large_too=pushes % _PUSHES_BETWEEN_LARGE == 0)


def state_files(run: RunDirectory) -> list[Path]:
    """The files that the driver writes: spec, metrics, result, report, rejected rows and the logs of this machine."""
    own = [run.spec_file, run.metrics.path, run.result_file, run.path / REPORT]
    return [*own, *run.path.glob("rejected*.jsonl"), *run.logs.glob("driver*"), *run.logs.glob("*.jsonl")]
