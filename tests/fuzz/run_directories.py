# SPDX-License-Identifier: Apache-2.0
"""Run directory: one whose files were changed, as `tadrib status` and the next start meet it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import time
from pathlib import Path
from random import Random

from tadrib.ray_jobs.runs.display import print_status
from tadrib.ray_jobs.runs.reading import read_status
from tadrib.ray_jobs.runs.resumption import finished
from tadrib.training.config import JobSpec
from tadrib.training.files.manifest import MANIFEST, Manifest, describe
from tadrib.training.run.checkpoints import newest_whole
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.files import RunFiles
from tadrib.training.run.names import step_of
from tadrib.training.run.trainer_state import history
from tests.fuzz.fragments import json_fragment
from tests.fuzz.mutations import mutated

SPEC = JobSpec(method="sft", name="run", dataset_path="rows.jsonl", max_steps=20)
SPEC_TEXT = SPEC.to_yaml()
HOW_MANY_ARE_DRAWN = 0.005
CHECKPOINT_NAMES = (
    "checkpoint-" + "9" * 5000, "checkpoint-٣", "checkpoint-007", "checkpoint--1", "checkpoint-", "checkpoint-1e3",
    "checkpoint-999999999999999999999", "checkpoint-8.damaged-1", ".saving",
)  # fmt: skip


def try_run_directory(random: Random, folder: Path) -> None:
    path = folder / "run"
    _build(random, path)
    for _ in range(random.randint(1, 3)):
        _harm(
            random,
            random.choice([each for each in sorted(path.rglob("*")) if each.is_file()] or [path / "x"]),
        )
    status = read_status(RunFiles(str(path)))
    json.dumps(status.to_mapping(), allow_nan=False)
    with contextlib.redirect_stdout(
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    ):
        print_status(status)
    run = RunDirectory(path)
    result = run.read_result()
    run.files.holder()
    if result is not None and random.random() < HOW_MANY_ARE_DRAWN:
        from tadrib.training.run.report import write_report

        write_report(run, result)
    run.has_final()
    checkpoint = newest_whole(run.checkpoints, say=lambda text: None)
    run.metrics.rewind(random.choice([-1, 8, 10**18]), history(checkpoint) if checkpoint else ())
    finished(SPEC, run)


def _build(random: Random, path: Path) -> None:
    (path / "logs").mkdir(parents=True)
    (path / "spec.yaml").write_text(SPEC_TEXT, encoding="utf-8")
    rows = [{"step": step, "loss": 1 / step, "epoch": step / 9, "time": 1e9 + step} for step in range(1, 12)]
    (path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    lock = {"owner": "a", "host": socket.gethostname(), "pid": os.getpid(), "process": 1.0, "ray_job": None}
    lock |= {"started": time.time(), "beat": time.time()}
    (path / "lock.json").write_text(json.dumps(lock))
    if random.random() < 0.5:
        status = random.choice(["succeeded", "failed", "stopped"])
        result = {
            "status": status,
            "name": "run",
            "method": "sft",
            "steps_done": 11,
            "metrics": {"loss": 0.1},
        }
        (path / "result.json").write_text(
            json.dumps(result | {"error": {"kind": "ValueError", "message": "why"}})
        )
    for step in (4, 8):
        _checkpoint(
            path / "checkpoints" / f"checkpoint-{step}", {"log_history": rows[:step], "global_step": step}
        )
    if random.random() < 0.2:
        with contextlib.suppress(OSError):  # a name that is too long for this file system
            _checkpoint(path / "checkpoints" / random.choice(CHECKPOINT_NAMES), {})


def _checkpoint(folder: Path, state: dict) -> None:
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps(state))
    _seal(folder)


def _seal(folder: Path) -> None:
    manifest = Manifest(files=describe(folder), step=step_of(folder.name) or 0)
    (folder / MANIFEST).write_text(manifest.to_json())


def _harm(random: Random, file: Path) -> None:
    """Change a file: its bytes, a value in its JSON, or what it is. A changed trainer state gets a manifest."""
    if not file.exists():
        return
    content = file.read_bytes()
    roll = random.random()
    if roll < 0.4:
        file.write_bytes(mutated(random, content))
    elif roll < 0.9:
        file.write_text(_with_other_value(random, content), encoding="utf-8", errors="surrogatepass")
    else:
        file.unlink()
        match random.randrange(4):
            case 0:
                file.mkdir()
            case 1:
                os.mkfifo(file)
            case 2:
                file.symlink_to("/dev/zero")
    is_state = file.name == "trainer_state.json" and file.is_file()
    if is_state and (file.parent / MANIFEST).is_file() and random.random() < 0.8:
        _seal(file.parent)


def _with_other_value(random: Random, content: bytes) -> str:
    """A JSON text, or lines of JSON, with one value replaced."""
    lines = content.decode("utf-8", "replace").splitlines() or [""]
    place = random.randrange(len(lines))
    line = lines[place]
    for text in ("\n".join(lines), line):
        with contextlib.suppress(ValueError, AttributeError, RecursionError, IndexError):
            value = json.loads(text)
            key = random.choice(list(value))
            pairs = {name: json.dumps(item) for name, item in value.items()} | {key: json_fragment(random)}
            changed = "{" + ", ".join(f"{json.dumps(name)}: {item}" for name, item in pairs.items()) + "}"
            return changed if text != line else "\n".join([*lines[:place], changed, *lines[place + 1 :]])
    head, colon, _ = line.partition(":")
    lines[place] = f"{head}{colon} {json_fragment(random)}"
    return "\n".join(lines)
