# SPDX-License-Identifier: Apache-2.0
"""Parts: the rows of each source of a run, checked, encoded and split by themselves, and what is said of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING

from tadrib.training.config import CommonConfig
from tadrib.training.data.group import Group
from tadrib.training.data.lengths import Limits, fit
from tadrib.training.data.loading import Loaded, load, one_sided, refusal
from tadrib.training.data.mixture import quotas, sample
from tadrib.training.data.report.check import DataReport, build_report
from tadrib.training.data.rows.models import row_model
from tadrib.training.data.split import held_out
from tadrib.training.errors import DataError, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class Part:
    """The rows of one source: to train on, and ``held_out`` (None if none are)."""

    name: str
    loaded: Loaded
    train: list[Group]
    held_out: list[Group] | None
    report: DataReport


def prepare_parts(config: CommonConfig, method: str, tokenizer: PreTrainedTokenizerBase) -> list[Part]:
    """The part of each of ``config.sources``. Rows are numbered through all of them in `Group.row`.

    Raises:
        DataError: with every problem found in any of them.
    """
    parts: list[Part] = []
    errors: list[DataError] = []
    for source in config.sources:
        try:
            alone = config.of_source(source)
            parts.append(_part(source.label, alone, method, tokenizer, source.max_rows, _num_rows(parts)))
        except DataError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise DataError("the datasets", [problem for error in errors for problem in error.problems])
    sizes = [len(part.train) for part in parts]
    weights = [source.weight for source in config.sources if source.weight is not None]
    for part, rows in zip(parts, quotas(sizes, weights) if weights else sizes, strict=True):
        part.report.epoch_rows = rows
    return parts


def _num_rows(parts: Sequence[Part]) -> int:
    return sum(part.loaded.validated.num_rows for part in parts)


def _part(
    name: str,
    config: CommonConfig,
    method: str,
    tokenizer: PreTrainedTokenizerBase,
    max_rows: int | None,
    rows_before: int,
) -> Part:
    loaded = load_sound(config.dataset_path, config, method, tokenizer)
    groups, report = fitted(loaded, config, method, tokenizer)
    report.name = name
    groups = [groups[i] for i in sample(len(groups), max_rows, config.seed, name)]
    held = None
    if config.validation_split > 0:
        dialogues = {item.group.row: item.dialogue for item in loaded.encoded}
        flags = held_out(
            config.dataset_path, [dialogues[g.row] for g in groups], config.validation_split, config.seed
        )
        groups, held = list(compress(groups, (not flag for flag in flags))), list(compress(groups, flags))
    report.train_rows, report.eval_rows = len(groups), None if held is None else len(held)
    numbered = [replace(group, row=group.row + rows_before) for group in groups]
    return Part(name, loaded, numbered, held, report)


def load_sound(name: str, config: CommonConfig, method: str, tokenizer: PreTrainedTokenizerBase) -> Loaded:
    """The dataset ``name``. Raises DataError for every reason to refuse it."""
    loaded = load(name, config, method, tokenizer)
    if problems := refusal(loaded, config, method, tokenizer):
        raise DataError(name, problems)
    return loaded


def require_labels(parts: Sequence[Part], held: Loaded | None, method: str) -> None:
    """Raise DataError if a method that needs rows of both labels gets one kind alone: from all ``parts`` together, from
    what is left to train on, or from the evaluation rows ``held``."""
    if not row_model(method).is_judged:
        return
    name = " and ".join(part.loaded.validated.source.name for part in parts)
    of_all = [dialogue.label for part in parts for dialogue in part.loaded.dialogues]
    of_train = [group.label for part in parts for group in part.train]
    problems = one_sided(name, of_all) or one_sided(f"{name} without validation_split", of_train)
    if held is not None:
        of_held = [dialogue.label for dialogue in held.dialogues]
        problems += one_sided(held.validated.source.name, of_held)
    if problems:
        raise DataError(name, problems)


def fitted(
    loaded: Loaded, config: CommonConfig, method: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Group], DataReport]:
    """The groups of ``loaded`` within the length limits, and the report on them."""
    name = loaded.validated.source.name
    groups = [item.group for item in loaded.encoded]
    limits = Limits.of(config, method)
    found = fit(groups, limits, config.truncation, tokenizer.bos_token_id)
    if not found.groups:
        message = f"truncation: {config.truncation} leaves no rows: all exceed {limits.total_key}."
        raise DataError(name, [Problem(name, message, f"Raise {limits.total_key}.")])
    report = build_report(loaded, config, method, tokenizer)
    report.cut, report.dropped = found.cut, found.dropped
    return found.groups, report
