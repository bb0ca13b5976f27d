# SPDX-License-Identifier: Apache-2.0
"""Starts of a run: whether anything is left to do in its directory, and whether the spec is the same."""

from __future__ import annotations

import shutil

import yaml

from training.config import JobSpec
from training.errors import Problem, SpecError
from training.run_directory import Result, RunDirectory

# what a run may change between starts without becoming another run
_FREE_KEYS = {
    "resources",
    "storage_path",
    "output_dir",
    "max_failures",
    "logging_steps",
    "report_to",
    "evaluation_strategy",
    "eval_steps",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "gradient_checkpointing",
    "ddp_backend",
    "ddp_find_unused_parameters",
    "dataloader_num_workers",
    "dataloader_pin_memory",
}


def finished(spec: JobSpec, run: RunDirectory) -> Result | None:
    """The result of a run that is done; None when it is to start or to continue.

    Raises SpecError with every difference when the directory holds another spec's checkpoints or result.
    """
    result = run.read_result()
    done = result is not None and result.status == "succeeded"
    if (done or run.latest_checkpoint()) and (problems := _changes(spec, run)):
        raise SpecError(f"{run} holds a run of a different spec", problems)
    return result if done else None


def begin(spec: JobSpec, run: RunDirectory) -> None:
    """Make the directory ready for this start; what an earlier one left without a checkpoint is removed."""
    run.create()
    run.result_file.unlink(missing_ok=True)
    shutil.rmtree(run.path / "final.tmp", ignore_errors=True)
    if run.latest_checkpoint() is None:
        run.rewind_metrics(-1)
        for folder in (run.data, run.final):
            shutil.rmtree(folder, ignore_errors=True)
    run.write_spec(spec.to_yaml())


def _changes(spec: JobSpec, run: RunDirectory) -> list[Problem]:
    before = yaml.safe_load(run.spec_file.read_text(encoding="utf-8")) if run.spec_file.exists() else {}
    now = spec.to_mapping()
    action = "Restore it, or start another run with name=…, or remove the directory."
    return [
        Problem(key, f"was {before.get(key)!r} and is {now.get(key)!r}.", action)
        for key in sorted(before.keys() | now.keys())
        if key not in _FREE_KEYS and before.get(key) != now.get(key)
    ]
