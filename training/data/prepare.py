# SPDX-License-Identifier: Apache-2.0
"""Prepare data for training: groups to train and evaluate on with a report, saved in a directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from tadrib.training.config import CommonConfig
from tadrib.training.config.methods import PreferenceConfig
from tadrib.training.data.baselines import with_baselines
from tadrib.training.data.group import Group, GroupDataset
from tadrib.training.data.loading import Loaded
from tadrib.training.data.mixture import epoch_rows
from tadrib.training.data.parts import (
    fitted,
    load_sound,
    prepare_parts,
    require_labels,
)
from tadrib.training.data.report.check import DataReport
from tadrib.training.data.report.joined import joined_report
from tadrib.training.data.rows.models import row_model
from tadrib.training.data.split import prompt_key
from tadrib.training.files.manifest import Manifest, describe, seal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class PreparedData:
    """``eval`` is None if the config specifies no evaluation data."""

    train: GroupDataset
    eval: GroupDataset | None
    report: DataReport

    @property
    def eval_sets(self) -> dict[str, int]:
        """Held-out groups of each source, in their order, where there are several sources; empty otherwise."""
        found = (
            {} if self.report is None else {each.name: each.eval_rows or 0 for each in self.report.sources}
        )
        return found if self.eval is not None and sum(found.values()) == len(self.eval) else {}

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
    """Validate and encode the groups of ``config.sources``, and of ``eval_dataset_path`` or what is held out of them.

    Of several sources, an epoch's training groups are those of all one after the other, or by weights those of
    `training.data.mixture.epoch_rows`. Held-out groups stand in the order of the sources.

    Up to ``max_bad_rows`` bad rows of each are left out. With ``rejected_dir`` they are written to ``rejected.jsonl``
    there (those of one of several sources to ``rejected-{name}.jsonl``, of the evaluation data to
    ``rejected-eval.jsonl``), unless the data are refused.

    Raises:
        DataError: with every problem found in the datasets.
        SpecError: the template or a normalization step does not exist, or does not fit the tokenizer.
    """
    parts = prepare_parts(config, method, tokenizer)
    held = None
    if config.eval_dataset_path:
        held = load_sound(config.eval_dataset_path, config, method, tokenizer)
    train = [group for part in parts for group in part.train]
    require_labels(parts, held, method)
    report = joined_report([part.report for part in parts], config)
    held_out = [part.held_out for part in parts if part.held_out is not None]
    evaluation = [group for groups in held_out for group in groups] if held_out else None
    if held is not None:
        evaluation, report.eval = fitted(held, config, method, tokenizer)
        for part in parts:
            _warn_of_shared_prompts(report, part.loaded, held)
    report.train_rows = sum(part.report.epoch_rows or 0 for part in parts)
    report.eval_rows = None if evaluation is None else len(evaluation)
    if rejected_dir is not None:
        for part in parts:
            suffix = f"-{part.name}" if len(parts) > 1 else ""
            _write_rejected(part.loaded, rejected_dir / f"rejected{suffix}.jsonl")
        if held is not None:
            _write_rejected(held, rejected_dir / "rejected-eval.jsonl")
    eval_data = None if evaluation is None else _dataset(evaluation, config, method)
    rows = _dataset(train, config, method)
    if weights := [source.weight for source in config.sources if source.weight is not None]:
        sizes = {part.name: len(part.train) for part in parts}
        rows = rows.select(epoch_rows(sizes, weights, config.seed).tolist())
    return PreparedData(rows, eval_data, report)


def _dataset(groups: list[Group], config: CommonConfig, method: str) -> GroupDataset:
    if row_model(method).is_judged:
        assert isinstance(config, PreferenceConfig)
        groups = with_baselines(groups, config.seed, config.max_length, config.max_tokens_per_batch)
    return GroupDataset.from_groups(groups)


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
