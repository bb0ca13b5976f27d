# SPDX-License-Identifier: Apache-2.0
"""`make demo`'s job in the image: whole, and stopped by SIGTERM in the middle and gone on with."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.image.container import EXAMPLES, Container, docker, run

pytestmark = pytest.mark.docker
BUILD_MODEL = (
    "from pathlib import Path; from tadrib.training.tiny.model import build_tiny_model as build;"
    "build('models/tiny', texts=sorted(Path('examples/data').glob('*_train.jsonl')))"
)
RUN = "runs/sft-arabic"


@pytest.fixture
def storage():
    """Options that mount a new volume with a tiny model, and the examples for reading."""
    volume = f"tadrib-test-{uuid.uuid4().hex[:12]}"
    docker("volume", "create", volume)
    options = (f"--volume={volume}:/mnt/tadrib", f"--volume={EXAMPLES}:/mnt/tadrib/examples:ro")
    try:
        run("python", "-c", BUILD_MODEL, options=options)
        yield options
    finally:
        docker("volume", "rm", "--force", volume, check=False)


def result(storage) -> dict:
    return json.loads(run("cat", f"{RUN}/result.json", options=storage))


def test_the_demo_runs_whole(storage):
    with Container("python", "examples/demo.py", options=storage) as demo:
        assert demo.end() == 0, demo.logs()
    found = result(storage)
    assert found["status"] == "succeeded"
    assert found["steps_done"] == found["steps_planned"]


def test_a_stopped_run_saves_a_checkpoint_and_goes_on_from_it(storage):
    command = ("tadrib", "train", "examples/01-sft.yaml", "num_train_epochs=4")
    with Container(*command, options=storage) as first:
        first.wait(
            "ten steps", lambda: first.do("cat", f"{RUN}/metrics.jsonl", check=False).count('"loss"') >= 10
        )
        assert first.stop() == 130, first.logs()
        assert not first.state()["OOMKilled"]
    stopped = result(storage)
    assert stopped["status"] == "stopped"
    checkpoints = run("ls", f"{RUN}/checkpoints", options=storage).split()
    assert f"checkpoint-{stopped['steps_done']}" in " ".join(checkpoints)
    with Container(*command, options=storage) as second:
        assert second.end() == 0, second.logs()
        assert f"continuing after step {stopped['steps_done']}" in second.logs()
    done = result(storage)
    assert done["status"] == "succeeded"
    assert stopped["steps_done"] < done["steps_done"] == done["steps_planned"]
