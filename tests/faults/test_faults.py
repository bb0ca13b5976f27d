# SPDX-License-Identifier: Apache-2.0
"""Faults done to real runs. Each run must complete, and train exactly as if nothing had happened."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tadrib.training.run.checkpoint_folders import committed
from tests.faults.runs import (
    SAVE_STEPS,
    STEPS,
    Training,
    kill_family,
    losses,
    send,
    tokens,
    workers_of,
    write_spec,
)
from tests.ray.clusters import RayCluster
from tests.s3 import Way, s3_server

pytestmark = [pytest.mark.faults, pytest.mark.slow]
KILLS = 10


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Training:
    training = Training(write_spec(tmp_path_factory.mktemp("uninterrupted"), "run"))
    assert training.finish() == 0, training.output
    return training


def equals(training: Training, other: Training) -> None:
    """The trajectory of ``other``, step by step."""
    assert training.run.read_result().status == "succeeded"
    found, expected = losses(training), losses(other)
    assert found.keys() == expected.keys()
    assert max(abs(found[step] - expected[step]) for step in expected) < 1e-6
    assert tokens(training) == tokens(other)


def continued_after(training: Training) -> int:
    """The step of the checkpoint that it says it goes on from."""
    return int(training.output.split("continuing after step ")[1].split()[0])


@pytest.fixture(scope="module")
def long_uninterrupted(tmp_path_factory) -> Training:
    spec = write_spec(tmp_path_factory.mktemp("long"), "run", max_steps=4 * STEPS)
    training = Training(spec)
    assert training.finish() == 0, training.output
    return training


def test_workers_killed_at_random_steps(tmp_path, long_uninterrupted):
    training = Training(write_spec(tmp_path, "run", max_steps=4 * STEPS, max_failures=2 * KILLS))
    generator, recoveries, lost = random.Random(0), [], []
    step = 0
    for _ in range(KILLS):
        training.wait_for_step(step + generator.randint(SAVE_STEPS + 1, SAVE_STEPS + 8))
        before = training.last_step()
        moment = time.time()
        send(generator.choice(training.workers()), signal.SIGKILL)
        row = training.wait_for_a_row_after(moment + 0.5)
        recoveries.append(row["time"] - moment)
        lost.append(before + 1 - row["step"])
        step = row["step"]
    assert training.finish() == 0, training.output

    equals(training, long_uninterrupted)
    recoveries.sort()
    p50, p95 = statistics.median(recoveries), recoveries[int(0.95 * (len(recoveries) - 1))]
    print(f"\n{KILLS} kills: fault to next step p50 {p50:.1f} s, p95 {p95:.1f} s; steps lost {lost}")
    assert max(lost) <= SAVE_STEPS + 1
    assert p95 < 60


def test_the_whole_machine_of_the_driver_is_lost_and_the_run_started_again(tmp_path, uninterrupted):
    spec = write_spec(tmp_path, "run")
    first = Training(spec)
    first.wait_for_step(25)
    first.kill()

    second = Training(spec)
    assert second.finish() == 0, second.output

    assert continued_after(second) in range(20, STEPS, SAVE_STEPS)
    equals(second, uninterrupted)


def test_a_stopped_run_continues_with_more_workers_and_then_fewer(tmp_path, uninterrupted):
    spec = write_spec(tmp_path, "run")
    settings = json.loads(spec.read_text())
    first = Training(spec)
    first.wait_for_step(15)
    first.run.files.ask_to_stop()
    assert first.finish() == 130, first.output

    for workers, command in ((1, "stop"), (3, None)):
        spec.write_text(
            json.dumps(settings | {"resources": {"num_workers": workers, "cpus_per_worker": 0.5}})
        )
        training = Training(spec)
        if command:
            training.wait_for_step(35)
            training.process.send_signal(signal.SIGINT)
            assert training.finish() == 130, training.output
    assert training.finish() == 0, training.output

    found, expected = losses(training), losses(uninterrupted)
    assert max(abs(found[step] - expected[step]) for step in expected) < 1e-4  # sums in another order
    assert tokens(training) == tokens(uninterrupted)


def test_damaged_checkpoints_are_passed_over(tmp_path, uninterrupted):
    spec = write_spec(tmp_path, "run", save_total_limit=None)
    first = Training(spec)
    first.wait_for_step(45)
    first.kill()
    newest, second, third, sound, *_ = sorted(
        committed(first.run.checkpoints).values(), reverse=True, key=_step
    )
    os.truncate(newest / "model.safetensors", 1000)
    content = bytearray((second / "optimizer.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (second / "optimizer.pt").write_bytes(content)
    (third / "trainer_state.json").unlink()

    training = Training(spec)
    assert training.finish() == 0, training.output

    assert "model.safetensors has 1,000 of" in training.output
    assert "optimizer.pt has been altered: its SHA-256 differs from the manifest" in training.output
    assert "trainer_state.json is missing" in training.output
    assert continued_after(training) == _step(sound)
    equals(training, uninterrupted)


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def test_a_frozen_worker_is_named_and_replaced(tmp_path, uninterrupted):
    training = Training(write_spec(tmp_path, "run", hang_seconds=4.0))
    training.wait_for_step(25)
    moment = time.time()
    send(training.workers()[1], signal.SIGSTOP)

    row = training.wait_for_a_row_after(moment + 1.0)
    print(f"\nfrozen worker: {row['time'] - moment:.1f} s from the freeze to the next step")
    assert training.finish() == 0, training.output

    assert "did not respond; step" in training.output
    stacks = list(training.run.logs.glob("stacks-worker-*.txt"))
    assert len(stacks) == 1
    assert "all_reduce" in stacks[0].read_text() or "backward" in stacks[0].read_text()
    equals(training, uninterrupted)


def test_a_disk_that_fills_during_a_save(tmp_path, uninterrupted):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = 56  # MiB: enough for the check before the run, not for half of its checkpoints
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here (it needs root)")
    try:
        spec = write_spec(tmp_path, "run", storage_path=str(disk / "runs"), save_total_limit=None)
        first = Training(spec)
        assert first.finish() == 2, first.output
        assert "no space left" in first.output
        good = committed(first.run.checkpoints)
        assert good, "the last good checkpoint must outlive the full disk"
        subprocess.run(["mount", "-o", f"remount,size={10 * size}m", str(disk)], check=True)

        second = Training(spec)
        assert second.finish() == 0, second.output

        assert f"continuing after step {max(good)}" in second.output
        equals(second, uninterrupted)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_filled_to_its_last_byte_is_named(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here (it needs root)")
    try:
        spec = write_spec(
            tmp_path, "run", storage_path=str(disk / "runs"), save_steps=1000, max_steps=100_000
        )
        training = Training(spec)
        training.wait_for_step(5)
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass

        assert training.finish() == 2, training.output

        assert re.search(r"✗ no space left in the run directory.*\n.* are free there", training.output)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_start_that_has_lost_the_run_writes_nothing_more_to_it(tmp_path):
    training = Training(write_spec(tmp_path, "run", max_steps=100_000, save_steps=5))
    training.wait_for_step(10)
    lock = json.loads(training.run.lock_file.read_text())
    training.run.lock_file.write_text(json.dumps({**lock, "owner": "another", "host": "elsewhere"}))
    time.sleep(1)  # a commit that was under way
    kept, rows = sorted(committed(training.run.checkpoints)), len(training.rows())

    assert training.finish() == 2, training.output

    assert "has taken it over; this start writes nothing more to it" in training.output
    assert not training.run.result_file.exists()
    assert not training.run.final.exists()
    assert sorted(committed(training.run.checkpoints)) == kept
    assert len(training.rows()) == rows
    assert json.loads(training.run.lock_file.read_text())["owner"] == "another"


def test_two_starts_at_once_have_one_writer(tmp_path, uninterrupted):
    spec = write_spec(tmp_path, "run")
    first = Training(spec)
    first.wait_for_step(1)
    second = Training(spec)
    assert second.finish() == 2
    assert f"process {first.process.pid} on" in second.output
    assert first.finish() == 0, first.output
    equals(first, uninterrupted)


@pytest.fixture(scope="module")
def way():
    with s3_server() as port:
        made = Way(port)
        yield made
        made.close()


def test_an_object_store_that_fails_stalls_and_restarts_while_workers_die(tmp_path, way, uninterrupted):
    scratch = {"TADRIB_SCRATCH": str(tmp_path / "scratch")}
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    spec = write_spec(tmp_path, "run", storage_path=f"s3://bucket/runs?{way.query}")
    os.environ |= keys | scratch
    first = Training(spec)
    first.wait_for_step(15)
    way.failures = 6
    send(first.workers()[0], signal.SIGKILL)
    first.wait_for_a_row_after(time.time() + 0.5)
    way.close()
    threading.Timer(5.0, way.open).start()
    first.wait_for_step(35)
    with way.stalled():
        first.wait_until(lambda: way.held > 0, "request to the store that stalls")
        time.sleep(10)  # longer than a client waits for one answer
    first.wait_for_step(first.last_step() + 5)
    first.kill()
    shutil.rmtree(tmp_path / "scratch")  # the next start is on another machine

    second = Training(spec)
    assert second.finish() == 0, second.output

    assert way.failed == 6
    assert "continuing after step" in second.output
    names = second.run.store.sizes()
    assert {"result.json", "metrics.jsonl", "final/model.safetensors", "logs/worker-1.log"} <= names.keys()
    equals_from_resume(second, uninterrupted)


def equals_from_resume(training: Training, other: Training) -> None:
    """As `equals`; rows of the last seconds before a machine was lost may not have reached the store."""
    training.run.pull()
    assert training.run.read_result().status == "succeeded"
    expected = losses(other)
    found = {row["step"]: row["loss"] for row in training.rows() if "grad_norm" in row}
    assert max(found) == max(expected)
    assert len(found) > 0.5 * len(expected)
    assert max(abs(found[step] - expected[step]) for step in found) < 1e-6


@pytest.fixture
def nodes() -> Iterator[RayCluster]:
    with a_cluster() as made:
        yield made


@contextmanager
def a_cluster(nodes: int = 0) -> Iterator[RayCluster]:
    made = RayCluster()
    try:
        made.start()
        for _ in range(nodes):
            made.add_node()
        yield made
    finally:
        made.remove()


def on(cluster: RayCluster) -> dict[str, str]:
    return cluster.environment | {"RAY_ADDRESS": cluster.gcs_address}


def test_a_node_is_killed_and_another_takes_its_place(tmp_path, nodes, uninterrupted):
    doomed, _ = nodes.add_node(), nodes.add_node()
    training = Training(write_spec(tmp_path, "run"), environment=on(nodes))
    training.wait_for_step(25)
    kill_node(doomed)
    nodes.forget(doomed)
    nodes.add_node()
    assert training.finish() == 0, training.output
    equals(training, uninterrupted)


def test_a_node_that_is_drained_saves_first_and_is_no_failure(tmp_path, nodes, long_uninterrupted):
    drain = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "15"}
    doomed, _ = nodes.add_node(**drain), nodes.add_node(**drain)
    spec = write_spec(tmp_path, "run", max_failures=0, save_steps=1000, max_steps=4 * STEPS)
    training = Training(spec, environment=on(nodes))
    training.wait_for_step(10)
    doomed.send_signal(signal.SIGTERM)
    training.wait_until(lambda: bool(committed(training.run.checkpoints)), "checkpoint before the node goes")
    nodes.forget(doomed)
    nodes.add_node()
    assert training.finish() == 0, training.output
    assert "continuing after step" in training.output
    equals(training, long_uninterrupted)


def test_the_whole_cluster_is_lost_and_the_run_submitted_to_another(tmp_path, uninterrupted):
    spec = write_spec(tmp_path, "run")
    with a_cluster(nodes=2) as cluster:
        first = Training(spec, environment=cluster.environment, command=["submit", "--address", cluster.url])
        first.wait_for_step(25)
        for pid in cluster.pids:
            kill_family(pid)
        first.kill()  # it would wait five minutes for the head to come back
    with a_cluster(nodes=2) as cluster:
        second = Training(spec, environment=cluster.environment, command=["submit", "--address", cluster.url])
        assert second.finish() == 0, second.output

    assert continued_after(second) in range(20, STEPS, SAVE_STEPS)
    equals(second, uninterrupted)


def test_an_elastic_run_starts_with_the_node_there_is_and_goes_on_with_two_after_a_loss(
    tmp_path, nodes, uninterrupted
):
    nodes.add_node()
    spec = write_spec(tmp_path, "run", resources={"num_workers": {"min": 1, "max": 2}})
    training = Training(spec, environment=on(nodes))
    training.wait_for_step(15)
    assert "1 of 2 workers are available" in training.output
    nodes.add_node()
    [worker] = workers_on(nodes)
    send(worker, signal.SIGKILL)
    training.wait_until(lambda: len(workers_on(nodes)) == 2, "second worker")
    assert training.finish() == 0, training.output

    found, expected = losses(training), losses(uninterrupted)
    assert max(abs(found[step] - expected[step]) for step in expected) < 1e-4  # sums in another order
    assert tokens(training) == tokens(uninterrupted)


def test_an_elastic_run_saves_before_it_grows_and_nothing_is_charged(tmp_path, nodes, long_uninterrupted):
    nodes.add_node()
    changes = {"save_steps": 10**5, "max_steps": 10**5, "max_failures": 0}
    spec = write_spec(tmp_path, "run", resources={"num_workers": {"min": 1, "max": 2}}, **changes)
    training = Training(spec, environment=on(nodes))
    training.wait_for_step(15)
    nodes.add_node()
    training.wait_until(lambda: len(workers_on(nodes)) == 2, "second worker")
    before = training.last_step()
    training.wait_for_a_row_after(time.time())
    step = continued_after(training)
    training.wait_for_step(max(4 * STEPS, step + 20))
    training.process.send_signal(signal.SIGINT)
    assert training.finish() == 130, training.output

    assert "workers restart: the number of nodes has changed" in training.output
    assert 15 < step <= before
    found = tokens(training)
    assert {n: found[n] for n in tokens(long_uninterrupted)} == tokens(long_uninterrupted)


def workers_on(cluster: RayCluster) -> list[int]:
    return [worker for node in cluster.pids for worker in workers_of(node)]


def kill_node(process: subprocess.Popen) -> None:
    """As the loss of its machine."""
    kill_family(process.pid)
    process.wait()


def test_an_elastic_run_goes_on_with_fewer_workers_when_nothing_takes_the_place(
    tmp_path, nodes, uninterrupted
):
    doomed, _ = nodes.add_node(), nodes.add_node()
    spec = write_spec(tmp_path, "run", resources={"num_workers": {"min": 1, "max": 2}})
    training = Training(spec, environment=on(nodes))
    training.wait_for_step(25)
    kill_node(doomed)
    nodes.forget(doomed)
    assert training.finish() == 0, training.output
    found, expected = losses(training), losses(uninterrupted)
    assert max(abs(found[step] - expected[step]) for step in expected) < 1e-4  # sums in another order
    assert tokens(training) == tokens(uninterrupted)
