# SPDX-License-Identifier: Apache-2.0
"""Prepare data for training: groups to train and evaluate on with a report, saved in a directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from tadrib.training.config import CommonConfig
from tadrib.training.config.methods import PreferenceConfig
from tadrib.training.data.baselines import with_baselines
from tadrib.training.data.group import Group, GroupDataset
from tadrib.training.data.lengths import Limits, fit
from tadrib.training.data.loading import Loaded, load, one_sided, refusal
from tadrib.training.data.report.check import DataReport, build_report
from tadrib.training.data.rows.models import row_model
from tadrib.training.data.split import held_out, prompt_key
from tadrib.training.errors import DataError, Problem
from tadrib.training.files.manifest import Manifest, describe, seal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class PreparedData:
    """``eval`` is None if the config specifies no evaluation data."""

    train: GroupDataset
    eval: GroupDataset | None
    report: DataReport

    def save(self, directory: str | Path, sources: Mapping[str, str] | None = None) -> None:
        """Write ``train/`` and ``eval/`` (Arrow), ``report.json``, and a manifest with ``sources``, the fingerprints of
        the datasets. The write is atomic: the directory is complete or absent."""
        target = Path(directory)
        aside = target.with_name(f"{target.name}.tmp")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            with _no_progress_bars():
                self.train.save(aside / "train")
                if self.eval is not None:
                    self.eval.save(aside / "eval")
            report = json.dumps(self.report.to_dict(), ensure_ascii=False, indent=2) + "\n"
            (aside / "report.json").write_text(report, encoding="utf-8", errors="backslashreplace")
            seal(aside, Manifest(files=describe(aside), sources=dict(sources or {})))
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)

    @classmethod
    def load(cls, directory: str | Path) -> PreparedData:
        """Load what ``save`` wrote, memory-mapped."""
        path = Path(directory)
        report = DataReport.from_dict(json.loads((path / "report.json").read_text(encoding="utf-8")))
        held = GroupDataset.load(path / "eval") if (path / "eval").is_dir() else None
        return cls(GroupDataset.load(path / "train"), held, report)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Inside this context `datasets` draws no progress bars."""
    was_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not was_disabled:
            enable_progress_bars()


def prepare_data(
    config: CommonConfig,
    method: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    rejected_dir: Path | None = None,
) -> PreparedData:
    """Validate and encode the groups of ``config.dataset_path``, and of ``eval_dataset_path`` or ``validation_split``.

    Up to ``max_bad_rows`` bad rows are left out. With ``rejected_dir`` they are written to ``rejected.jsonl`` there
    (those of the evaluation data to ``rejected-eval.jsonl``), unless the data are refused.

    Raises:
        DataError: with every problem found in a dataset.
        SpecError: the template or a normalization step does not exist, or does not fit the tokenizer.
    """
    loaded = _load_sound(config.dataset_path, config, method, tokenizer)
    held = None
    if config.eval_dataset_path:
        held = _load_sound(config.eval_dataset_path, config, method, tokenizer)
    train, report = _fitted(loaded, config, method, tokenizer)
    evaluation: list[Group] | None = None
    if held is not None:
        evaluation, report.eval = _fitted(held, config, method, tokenizer)
        _warn_of_shared_prompts(report, loaded, held)
    elif config.validation_split > 0:
        train, evaluation = _split(loaded, train, config, method)
    report.train_rows = len(train)
    report.eval_rows = None if evaluation is None else len(evaluation)
    if rejected_dir is not None:
        _write_rejected(loaded, rejected_dir / "rejected.jsonl")
        if held is not None:
            _write_rejected(held, rejected_dir / "rejected-eval.jsonl")
    eval_data = None if evaluation is None else _dataset(evaluation, config, method)
    return PreparedData(_dataset(train, config, method), eval_data, report)


def _load_sound(name: str, config: CommonConfig, method: str, tokenizer: PreTrainedTokenizerBase) -> Loaded:
    loaded = load(name, config, method, tokenizer)
    problems = refusal(loaded, config, method, tokenizer)
    if problems:
        raise DataError(name, problems)
    return loaded


def _fitted(
    loaded: Loaded, config: CommonConfig, method: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Group], DataReport]:
    name = loaded.validated.source.name
    groups = [item.group for item in loaded.encoded]
    limits = Limits.of(config, method)
    fitted = fit(groups, limits, config.truncation, tokenizer.bos_token_id)
    if not fitted.groups:
        message = f"truncation: {config.truncation} leaves no rows: all exceed {limits.total_key}."
        raise DataError(name, [Problem(name, message, f"Raise {limits.total_key}.")])
    report = build_report(loaded, config, method, tokenizer)
    report.cut, report.dropped = fitted.cut, fitted.dropped
    return fitted.groups, report


def _dataset(groups: list[Group], config: CommonConfig, method: str) -> GroupDataset:
    if row_model(method).is_judged:
        assert isinstance(config, PreferenceConfig)
        groups = with_baselines(groups, config.seed, config.max_length, config.max_tokens_per_batch)
    return GroupDataset.from_groups(groups)


def _split(
    loaded: Loaded, groups: list[Group], config: CommonConfig, method: str
) -> tuple[list[Group], list[Group]]:
    name = loaded.validated.source.name
    dialogues = {item.group.row: item.dialogue for item in loaded.encoded}
    held = held_out(name, [dialogues[group.row] for group in groups], config.validation_split, config.seed)
    train = list(compress(groups, (not flag for flag in held)))
    if row_model(method).is_judged and (
        problems := one_sided(f"{name} without validation_split", [g.label for g in train])
    ):
        raise DataError(name, problems)
    return train, list(compress(groups, held))


def _warn_of_shared_prompts(report: DataReport, train: Loaded, held: Loaded) -> None:
    seen = {prompt_key(dialogue) for dialogue in train.dialogues}
    shared = sum(prompt_key(dialogue) in seen for dialogue in held.dialogues)
    if shared:
        report.warnings.append(
            f"{shared:,} of {len(held.dialogues):,} evaluation rows have a prompt that is also in the training data."
        )


def _write_rejected(loaded: Loaded, path: Path) -> None:
    if loaded.validated.bad.count:
        loaded.validated.bad.write(path)
