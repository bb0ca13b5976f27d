# SPDX-License-Identifier: Apache-2.0
"""When an entry of `ray_jobs.compat` may go, and what a Ray without one of its interfaces gets."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import ray.train
from ray.job_submission import JobSubmissionClient
from ray.train.v2._internal.execution.worker_group import WorkerGroup

from tadrib.ray_jobs.compat.ray_core import resources_here, temporary_folder
from tadrib.ray_jobs.compat.ray_interfaces import USED, missing
from tadrib.ray_jobs.compat.ray_preemption import default_grace_seconds, preemption_notice
from tadrib.ray_jobs.driver.public_training import notice


def test_the_pinned_ray_has_every_interface_that_is_used():
    assert missing() is None


def test_it_still_has_them_once_actors_have_started_in_this_process():
    """Ray adds a parameter for tracing to the methods of a class whose actors it starts."""
    code = (
        "import ray; from ray.train.v2._internal.execution.worker_group import RayTrainWorker as worker;"
        "ray.remote(worker); import inspect; assert '_ray_trace_ctx' in inspect.signature(worker.execute).parameters;"
        "from tadrib.ray_jobs.compat.ray_interfaces import missing; assert missing() is None, missing()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("place", "attributes", "said"),
    [
        ("ray.train.v2._internal.elsewhere:Thing", {}, "ray.train.v2._internal.elsewhere.Thing"),
        ("ray.train.v2._internal.callbacks:Thing", {}, "ray.train.v2._internal.callbacks.Thing"),
        ("ray.train.v2.torch.torch_trainer:TorchTrainer", {"_run": {"self"}}, "TorchTrainer._run"),
        (
            "ray.train.v2.torch.torch_trainer:TorchTrainer",
            {"_initialize_and_run_controller": {"self", "controller"}},
            "TorchTrainer._initialize_and_run_controller",
        ),
    ],
)
def test_one_that_is_gone_or_takes_something_else_is_named(place, attributes, said, monkeypatch):
    monkeypatch.setitem(USED, place, attributes)
    assert missing() == said
    assert f"has no {said} as version 2.60.0 has it" in notice(said)
    assert "install ray==2.60.0" in notice(said)


def test_ray_train_still_has_no_public_way_to_run_its_controller_in_the_driver():
    """`ray.train` offers neither a controller nor the workers' handles, and its workers get an actor to agree by."""
    assert {name for name in dir(ray.train) if "ontroller" in name} == {"ControllerError"}
    parameters = inspect.signature(ray.train.ScalingConfig).parameters
    assert not any("controller" in name or "policy" in name for name in parameters)
    assert "synchronization_actor=sync_actor" in inspect.getsource(WorkerGroup._init_train_context_on_workers)


def test_what_ray_announces_publicly_still_makes_all_workers_wait():
    assert "barrier" in inspect.getdoc(ray.train.get_preemption_info)
    assert default_grace_seconds() > 0
    with pytest.raises(RuntimeError):
        preemption_notice()  # outside of a worker


def test_rays_client_of_job_servers_still_has_no_limit_to_how_long_it_waits():
    parameters = inspect.signature(JobSubmissionClient.__init__).parameters
    assert not any("timeout" in name for name in parameters)


def test_ray_still_reads_the_environment_but_once():
    code = (
        "import os; os.environ['RAY_AUTH_MODE'] = 'disabled'\n"
        "import ray\n"
        "from ray._private.authentication.authentication_utils import is_token_auth_enabled as on\n"
        "from tadrib.ray_jobs.compat.ray_core import send_token\n"
        "os.environ['RAY_AUTH_MODE'] = 'token'; before = on()\n"
        "send_token(True); print(before, on())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_ray_tells_what_this_machine_has(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert temporary_folder() == Path(tmp_path) / "ray"
    assert resources_here()["CPU"] >= 1
