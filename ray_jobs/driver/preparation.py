# SPDX-License-Identifier: Apache-2.0
"""Preparation: the driver reads and tokenizes the dataset once for all workers, before any of them trains."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.runs.prepared_rows import are_usable
from tadrib.training.config import JobSpec
from tadrib.training.config.locations import inside
from tadrib.training.model.adapter_folder import require_models
from tadrib.training.phases import followed
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import DATA, PREPARED

if TYPE_CHECKING:
    from tadrib.training.data.prepare import PreparedData
    from tadrib.training.data.report.check import DataReport


def prepare(spec: JobSpec, run: RunDirectory, display: Display) -> None:
    """Read, check and tokenize the rows, and choose those of the run in ``data/``; a run that continues keeps those it
    began with. Tokenized rows are kept beside the runs, in ``prepared/``, for all of them.

    Raises SpecError if the tokenizer cannot be loaded or the rows do not fit the model; DataError with every problem of
    the rows, or if a run that continues cannot recover its rows.
    """
    if run.latest_checkpoint() is not None and are_usable(spec, run):
        display.enter_phase("starting Ray")
        return
    display.enter_phase("preparing the data")
    require_models(spec.config)
    from tadrib.training.data.fingerprint import fingerprints
    from tadrib.training.data.formats.registry import read_as
    from tadrib.training.data.prepare import prepare_data
    from tadrib.training.model.limits import require_rows_fit
    from tadrib.training.model.tokenizer import load_tokenizer

    sources = fingerprints(spec.config)  # before reading: a change while the rows are read is noticed later
    tokenizer = load_tokenizer(spec.config)
    store = inside(spec.storage_path, PREPARED)
    with followed(display.show):
        data = prepare_data(spec.config, spec.method, tokenizer, rejected_dir=run.path, store=store)
    require_rows_fit(spec.config, spec.method, data.extent, tokenizer)
    data.save(run.data, sources)
    if run.store is not None:  # workers on other machines download the rows from there
        from tadrib.training.files.store_folders import upload_folder

        upload_folder(run.store, run.data, DATA)
    held_out = f", {len(data.eval):,} held out" if data.eval is not None else ""
    display.note(f"read as {read_as(data.report.formats)}")
    display.note(f"{len(data.train):,} rows to train on{held_out}{_prepared_before(data)}")
    for source in data.report.sources:
        display.note(f"  {_taken(source, data.report)}")
    for line in [*_left_out(data.report), *data.report.warnings]:
        display.warn(line)


def _prepared_before(data: PreparedData) -> str:
    """What an earlier start or another run had done, if anything."""
    rows = data.report.rows + (data.report.eval.rows if data.report.eval else 0)
    if not data.encoded_rows:
        return "; prepared before, none tokenized"
    before = rows - data.encoded_rows
    return f"; {before:,} of {rows:,} prepared before" if before else ""


def _taken(source: DataReport, whole: DataReport) -> str:
    """What an epoch takes from one of several datasets."""
    rows, share = source.epoch_rows or 0, (source.epoch_rows or 0) / (whole.train_rows or 1)
    held_out = f", {source.eval_rows:,} held out" if source.eval_rows else ""
    passes = rows / (source.train_rows or 1)
    used = f", {passes:.2f} times its {source.train_rows:,} rows" if rows != source.train_rows else ""
    return f"{source.name}: {rows:,} rows ({share:.1%} of an epoch{used}){held_out}"


def _left_out(report: DataReport) -> Iterator[str]:
    """How many rows were dropped or truncated, with the key that allowed it."""
    if report.bad_rows:
        yield f"{report.bad_rows:,} bad rows are skipped (max_bad_rows); they are in rejected.jsonl"
    if report.cut:
        yield f"{report.cut:,} rows are truncated to the length limit (truncation)"
    if report.dropped:
        yield f"{report.dropped:,} rows are dropped for exceeding a length limit (truncation)"


def in_background(work: Callable[[], None]) -> Future[None]:
    """Run ``work`` in a daemon thread; ``result()`` raises its error. An executor's threads would delay the exit."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="preparation", daemon=True).start()
    return done
