# SPDX-License-Identifier: Apache-2.0
"""Parts: the rows of each source of a run, checked, encoded and split by themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tadrib.training.data.blocks.block_store import BlockStore
from tadrib.training.data.blocks.encoded_rows import EncodedRows, encode_rows
from tadrib.training.data.blocks.encoding_job import EncodingJob
from tadrib.training.data.blocks.work import Engine
from tadrib.training.data.lengths import Limits
from tadrib.training.data.mixture import quotas, sample
from tadrib.training.data.report.check import DataReport, build_report
from tadrib.training.data.report.refusal import one_sided, refusal
from tadrib.training.data.rows.models import row_model
from tadrib.training.data.selection import Selection
from tadrib.training.data.split import held_out
from tadrib.training.errors import DataError, Problem


@dataclass(slots=True)
class Part:
    """The rows of one source: to train on, and ``held_out`` (None if none are). Groups are numbered through all
    parts."""

    name: str
    rows: EncodedRows
    train: Selection
    held_out: Selection | None
    report: DataReport


def prepare_parts(job: EncodingJob, store: BlockStore, engine: Engine) -> list[Part]:
    """The part of each of ``job.config.sources``.

    Raises:
        DataError: with every problem found in any of them.
    """
    config = job.config
    parts: list[Part] = []
    errors: list[DataError] = []
    for source in config.sources:
        try:
            alone = replace(job, config=config.of_source(source))
            rows = load_sound(alone.config.dataset_path, alone, store, engine)
            first = sum(part.rows.num_groups for part in parts)
            parts.append(_part(source.label, rows, alone, source.max_rows, first))
        except DataError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise DataError("the datasets", [problem for error in errors for problem in error.problems])
    sizes = [len(part.train) for part in parts]
    weights = [source.weight for source in config.sources if source.weight is not None]
    for part, count in zip(parts, quotas(sizes, weights) if weights else sizes, strict=True):
        part.report.epoch_rows = count
    return parts


def _part(name: str, rows: EncodedRows, job: EncodingJob, max_rows: int | None, first: int) -> Part:
    config = job.config
    report = build_report(rows, config, job.method, job.tokenizer)
    report.name = name
    train = Selection.of(rows.index, first)
    train = train[sample(len(train), max_rows, config.seed, name)]
    held = None
    if config.validation_split > 0:
        keys = train.columns["prompt_key"]
        flags = held_out(config.dataset_path, keys, config.validation_split, config.seed)
        train, held = train[~flags], train[flags]
    report.train_rows, report.eval_rows = len(train), None if held is None else len(held)
    return Part(name, rows, train, held, report)


def load_sound(name: str, job: EncodingJob, store: BlockStore, engine: Engine) -> EncodedRows:
    """The dataset ``name``. Raises DataError for every reason to refuse it."""
    rows = encode_rows(name, job, store, engine)
    if problems := refusal(rows, job.config, job.method):
        raise DataError(name, problems)
    if not rows.num_groups:
        key = Limits.of(job.config, job.method).total_key
        message = f"truncation: {job.config.truncation} leaves no rows: all exceed {key}."
        raise DataError(name, [Problem(name, message, f"Raise {key}.")])
    return rows


def require_labels(parts: Sequence[Part], held: EncodedRows | None, method: str) -> None:
    """Raise DataError if a method that needs rows of both labels gets one kind alone: from all ``parts`` together, from
    what is left to train on, or from the evaluation rows ``held``."""
    if not row_model(method).is_judged:
        return
    name = " and ".join(part.rows.source.name for part in parts)
    of_all = sum((part.rows.facts.labels for part in parts), Counter())
    of_train = Selection.joined([part.train for part in parts]).labels
    problems = one_sided(name, of_all) or one_sided(f"{name} without validation_split", of_train)
    if held is not None:
        problems += one_sided(held.source.name, held.facts.labels)
    if problems:
        raise DataError(name, problems)
