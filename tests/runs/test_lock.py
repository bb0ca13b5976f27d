# SPDX-License-Identifier: Apache-2.0
import errno
import fcntl
import multiprocessing as mp
import os
import socket
import threading
import time

import pytest

from tadrib.ray_jobs.runs import liveness
from tadrib.ray_jobs.runs.liveness import is_alive
from tadrib.ray_jobs.runs.lock import locked
from tadrib.training.errors import ResourceError
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.files import RunFiles
from tadrib.training.run.holder import Holder
from tadrib.training.run.names import LOCK


def run_in(folder) -> RunDirectory:
    run = RunDirectory(folder)
    run.create()
    return run


def held_by(host: str, beat: float, owner: str = "a") -> Holder:
    return Holder(owner=owner, host=host, pid=1, process=1.0, started=beat, beat=beat)


def nobody() -> None:
    raise AssertionError("the lock was lost")


def hold(folder: str, entered, leave) -> None:
    with locked(RunDirectory(folder), nobody):
        entered.set()
        leave.wait(30)


def try_to_hold(folder: str, start, results, leave) -> None:
    start.wait()
    try:
        with locked(RunDirectory(folder), nobody):
            results.put("held")
            leave.wait(60)
    except ResourceError:
        results.put("refused")


def test_a_second_start_is_refused_and_told_who_holds_the_run(tmp_path):
    run = run_in(tmp_path)
    context = mp.get_context("spawn")
    entered, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(str(tmp_path), entered, leave))
    process.start()
    assert entered.wait(60)

    with pytest.raises(ResourceError) as refused, locked(run, nobody):
        pass

    assert f"process {process.pid} on" in str(refused.value)
    assert f"tadrib stop {tmp_path}" in str(refused.value)
    leave.set()
    process.join()
    assert run.files.holder() is None


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path):
    run = run_in(tmp_path)
    context = mp.get_context("spawn")
    entered, never = context.Event(), context.Event()
    process = context.Process(target=hold, args=(str(tmp_path), entered, never))
    process.start()
    assert entered.wait(60)
    process.kill()
    process.join()

    began = time.monotonic()
    with locked(run, nobody):
        assert run.files.holder().pid == os.getpid()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("dead", [False, True], ids=["free", "of a dead process"])
def test_of_many_starts_at_once_one_gets_the_run(tmp_path, dead):
    run = run_in(tmp_path)
    if dead:
        run.lock_file.write_text(held_by(socket.gethostname(), beat=time.time()).model_dump_json())
    context = mp.get_context("fork")
    start, results, leave = context.Event(), context.Queue(), context.Event()
    arguments = (str(tmp_path), start, results, leave)
    processes = [context.Process(target=try_to_hold, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    start.set()
    found = [results.get(timeout=60) for _ in processes]
    leave.set()
    for process in processes:
        process.join()

    assert sorted(found) == ["held", *["refused"] * 7]


@pytest.mark.parametrize(
    "seen", [None, held_by("elsewhere", beat=0.0, owner="b")], ids=["free", "of a dead process"]
)
def test_a_start_that_looked_before_another_took_the_run_is_refused(tmp_path, monkeypatch, seen):
    run = run_in(tmp_path)
    taken = held_elsewhere(run, beat=time.time())
    looks = iter([seen])
    monkeypatch.setattr(RunFiles, "holder", lambda files: next(looks, taken))

    with pytest.raises(ResourceError, match="process 1 on elsewhere"), locked(run, nobody):
        pass

    assert Holder.parse(run.lock_file.read_text()) == taken


def test_a_lock_that_was_let_go_since_the_look_at_it_is_free(tmp_path, monkeypatch):
    run, looks = run_in(tmp_path), [held_by(socket.gethostname(), beat=0.0)]
    holder = RunFiles.holder
    monkeypatch.setattr(RunFiles, "holder", lambda files: looks.pop() if looks else holder(files))

    with locked(run, nobody):
        assert run.files.holder().pid == os.getpid()


def test_a_file_system_without_locks_goes_by_whoever_stands_in_the_lock(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    run = run_in(tmp_path)
    with locked(run, nobody), pytest.raises(ResourceError), locked(run, nobody):
        pass
    assert run.files.holder() is None


def test_a_torn_lock_stops_nobody(tmp_path):
    run = run_in(tmp_path)
    run.lock_file.write_text('{"owner": "a')

    with locked(run, nobody):
        assert run.files.holder().pid == os.getpid()


def held_elsewhere(run: RunDirectory, beat: float) -> Holder:
    held = held_by("elsewhere", beat)
    run.files.write(LOCK, held.model_dump_json())
    return held


def test_a_holder_on_another_machine_lives_by_its_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.5)
    monkeypatch.setattr(liveness, "TIMEOUT", 1.5)
    run = run_in(tmp_path)

    assert not is_alive(run.files, held_elsewhere(run, beat=time.time() - 3600))
    assert not is_alive(run.files, held_elsewhere(run, beat=time.time()))
    held = held_elsewhere(run, beat=time.time() - 1)
    held_elsewhere(run, beat=time.time())
    assert is_alive(run.files, held)


def test_a_holder_that_lost_the_run_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.1)
    run = run_in(tmp_path)
    told = mp.get_context("spawn").Event()

    with locked(run, told.set):
        held_elsewhere(run, beat=time.time())
        assert told.wait(10)
    assert run.files.holder().host == "elsewhere"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(liveness, "TIMEOUT", 1.0)


@pytest.mark.parametrize("hours", [-1, 1], ids=["behind", "ahead"])
def test_a_live_holder_keeps_the_run_whatever_its_clock_says(tmp_path, quick, hours):
    run, done = run_in(tmp_path), threading.Event()

    def beat() -> None:
        while not done.wait(0.2):
            held_elsewhere(run, beat=time.time() + 3600 * hours)

    held_elsewhere(run, beat=time.time() + 3600 * hours)
    threading.Thread(target=beat, daemon=True).start()
    try:
        with pytest.raises(ResourceError, match="process 1 on elsewhere"), locked(run, nobody):
            pass
    finally:
        done.set()


@pytest.mark.parametrize("hours", [-1, 1], ids=["behind", "ahead"])
def test_a_dead_holder_loses_the_run_whatever_its_clock_said(tmp_path, quick, hours):
    run = run_in(tmp_path)
    held_elsewhere(run, beat=time.time() + 3600 * hours)
    with locked(run, nobody):
        assert run.files.holder().pid == os.getpid()


def test_a_process_of_another_container_with_our_name_is_not_sought_here(tmp_path, quick):
    run = run_in(tmp_path)
    beside = {"machine": "another pid namespace", "process": None, "pid": 2**22 + 1}
    held = held_by(socket.gethostname(), beat=time.time()).model_copy(update=beside)
    assert not held.is_here
    run.files.write(LOCK, held.model_copy(update={"beat": 1.0}).model_dump_json())
    assert is_alive(run.files, held)  # as its beat has changed since
