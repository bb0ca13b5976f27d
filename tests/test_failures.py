# SPDX-License-Identifier: Apache-2.0
import errno
import json
import pickle

import pytest
import torch
from safetensors import SafetensorError

from tadrib.ray_jobs.disk import check_space, human, is_full, least_bytes
from tadrib.ray_jobs.events import Failure, WorkersFailed
from tadrib.ray_jobs.failures import HUNG, describe, hang_failure, place_of, worker_failure
from tadrib.training.config import SFTConfig
from tadrib.training.errors import DataError, Problem, ResourceError, TrainingError
from tadrib.training.run.directory import RunDirectory


def caught(error: Exception) -> Exception:
    """The exception with a traceback, as code that failed leaves it."""
    try:
        raise error
    except Exception as raised:
        return raised


def test_an_unexpected_exception_becomes_three_lines(tmp_path):
    run = RunDirectory(tmp_path)
    log = run.logs / "worker-1.log"
    failure = describe(caught(ValueError("\nexpected 3\nmore\n")), run, rank=1, log=log)
    assert isinstance(failure.error, TrainingError)
    first, second, third = str(failure.error).splitlines()
    assert first == "ValueError on worker 1: expected 3"
    assert second.startswith("  at ")
    assert "test_failures.py" in second
    assert third == f"  full log: {log}"


def test_an_error_for_the_user_keeps_its_kind_through_pickling(tmp_path):
    error = DataError("rows.jsonl", [Problem("rows.jsonl:3: response", "is empty.", "Fill it.")])
    failure = describe(caught(error), RunDirectory(tmp_path), rank=0, log=tmp_path / "log")
    copy = pickle.loads(pickle.dumps(failure))
    assert isinstance(copy.error, DataError)
    assert str(copy.error) == str(error)
    assert copy.error.exit_code == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_recognised_wherever_it_came_from(tmp_path, error):
    outer = RuntimeError("saving failed")
    outer.__cause__ = caught(error)
    assert is_full(outer)
    failure = describe(outer, RunDirectory(tmp_path), rank=0, log=tmp_path / "log")
    assert isinstance(failure.error, ResourceError)
    assert str(tmp_path) in str(failure.error)
    assert "bytes) are free" in str(failure.error)


def test_a_worker_that_died_is_named_before_those_that_lost_it(tmp_path):
    run = RunDirectory(tmp_path)
    lost = describe(caught(RuntimeError("Connection closed by peer")), run, rank=0, log=tmp_path)

    group = Exception("Ray's WorkerGroupError")
    group.worker_failures = {0: lost.error, 1: RuntimeError("actor died")}

    failure = worker_failure(WorkersFailed(lost, group), run, at="step 12 of 40")
    assert "the process of worker 1 died" in str(failure.error)
    assert "at step 12 of 40" in str(failure.error)
    assert str(run.logs / "worker-1.log") in str(failure.error)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 9 bytes"
        ),
    ],
)
def test_memory_that_ran_out_is_told_apart_and_answered_with_advice(tmp_path, error):
    failure = describe(caught(error), RunDirectory(tmp_path), rank=0, log=tmp_path / "log")

    assert failure.fatal
    assert "out of memory" in str(failure.error)
    for advice in ("per_device_train_batch_size", "max_tokens_per_batch", "gradient_checkpointing", "QLoRA"):
        assert advice in str(failure.error)


@pytest.mark.parametrize("where", ["worker_failures", "controller_failure"])
def test_workers_that_ray_ended_for_memory_get_the_advice_too(tmp_path, where):
    """The text is Ray 2.60's, of a run whose workers its memory monitor killed."""
    text = "2 worker(s) were killed due to the node running low on memory. Memory on the node was 1.84GB used"
    killed = RuntimeError(f"A worker health check failed.\nWorker info: rank 1\n{text}\nTop 10 memory users")
    group = Exception("Training failed due to worker errors:")
    setattr(group, where, {1: killed} if where == "worker_failures" else killed)
    lost = describe(caught(RuntimeError("Connection closed by peer")), RunDirectory(tmp_path), log=tmp_path)

    failure = worker_failure(WorkersFailed(lost, group), RunDirectory(tmp_path), at="step 12 of 40")

    assert failure.message == text
    assert f"out of memory: 1 problem\n  worker: {text}." in str(failure.error)
    assert "QLoRA" in str(failure.error)


def hung(rank: int) -> Failure:
    error = TrainingError(f"worker {rank} waits")
    return Failure(error, HUNG, "step 7 has taken 130 s", "loop.py:3 in all_reduce", "log", rank=rank)


def test_a_frozen_worker_is_named_by_its_silence():
    failure = hang_failure([hung(0), hung(2)], workers=4)
    assert failure.message == "workers 1, 3 did not respond; step 7 has taken 130 s"
    assert "at loop.py:3 in all_reduce" in str(failure.error)


def test_when_every_worker_answers_the_first_one_tells_where_it_waits():
    assert hang_failure([hung(1), hung(0)], workers=2).rank == 1


def test_the_place_is_our_innermost_line_not_the_librarys():
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads("{")
    assert place_of(raised.value).endswith("in test_the_place_is_our_innermost_line_not_the_librarys")


def test_a_run_that_cannot_fit_is_refused_with_the_bytes_free(tmp_path):
    rows = tmp_path / "rows.jsonl"
    with rows.open("wb") as file:
        file.truncate(2**43)
    config = SFTConfig(dataset_path=str(rows))
    with pytest.raises(ResourceError, match=r"the run writes at least 8.0 TiB.*bytes\) are free"):
        check_space(RunDirectory(tmp_path), config)


def test_training_all_weights_counts_weights_and_a_checkpoint(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    adapters = SFTConfig(model_name=str(tmp_path), dataset_path="missing.jsonl")
    everything = SFTConfig(model_name=str(tmp_path), dataset_path="missing.jsonl", use_lora=False)
    assert least_bytes(everything) - least_bytes(adapters) == 4000


@pytest.mark.parametrize(
    ("size", "text"), [(512, "512 B"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB"), (2**50, "1.0 PiB")]
)
def test_sizes_are_readable(size, text):
    assert human(size) == text
