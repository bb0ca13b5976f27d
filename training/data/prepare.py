# SPDX-License-Identifier: Apache-2.0
"""Prepare data for training: groups to train and evaluate on with a report, saved in a directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tadrib.training.config import CommonConfig
from tadrib.training.config.methods import PreferenceConfig
from tadrib.training.data.blocks.block_store import BlockStore
from tadrib.training.data.blocks.encoded_rows import EncodedRows
from tadrib.training.data.blocks.encoding_job import EncodingJob
from tadrib.training.data.blocks.processes import encode_here
from tadrib.training.data.blocks.stored_blocks import StoredBlocks
from tadrib.training.data.blocks.work import Engine
from tadrib.training.data.extent import Extent
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.mixture import epoch_rows
from tadrib.training.data.parts import load_sound, prepare_parts, require_labels
from tadrib.training.data.report.check import DataReport, build_report
from tadrib.training.data.report.joined import joined_report
from tadrib.training.data.rows.models import row_model
from tadrib.training.data.selection import Selection
from tadrib.training.files.manifest import Manifest, describe, seal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class PreparedData:
    """``eval`` is None if the config specifies no evaluation data. Of data that were prepared now, ``extent`` is that
    of all groups, and ``encoded_rows`` counts the rows that had not been encoded before."""

    train: GroupDataset
    eval: GroupDataset | None
    report: DataReport
    extent: Extent = field(default_factory=Extent)
    encoded_rows: int = 0

    @property
    def eval_sets(self) -> dict[str, int]:
        """Held-out groups of each source, in their order, where there are several sources; empty otherwise."""
        found = (
            {} if self.report is None else {each.name: each.eval_rows or 0 for each in self.report.sources}
        )
        return found if self.eval is not None and sum(found.values()) == len(self.eval) else {}

    def save(self, directory: str | Path, sources: Mapping[str, str] | None = None) -> None:
        """Write which groups are trained and evaluated on (``train/``, ``eval/``), the list of their blocks,
        ``report.json``, and a manifest with ``sources``, the fingerprints of the datasets. The write is atomic: the
        directory is complete or absent."""
        target = Path(directory)
        aside = target.with_name(f"{target.name}.tmp")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            self.train.save(aside / "train")
            if self.eval is not None:
                self.eval.save(aside / "eval")
            assert isinstance(self.train.blocks, StoredBlocks)
            self.train.blocks.save(aside, target)
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
        blocks = StoredBlocks.load(path)
        held = GroupDataset.load(path / "eval", blocks) if (path / "eval").is_dir() else None
        return cls(GroupDataset.load(path / "train", blocks), held, report)


def prepare_data(
    config: CommonConfig,
    method: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    rejected_dir: Path | None = None,
    store: str | None = None,
    engine: Engine = encode_here,
) -> PreparedData:
    """Validate and encode the groups of ``config.sources``, and of ``eval_dataset_path`` or what is held out of them.

    Of several sources, an epoch's training groups are those of all one after the other, or by weights those of
    `training.data.mixture.epoch_rows`. Held-out groups stand in the order of the sources.

    Encoded rows are kept in blocks in the folder or URL ``store``, where the same rows are found again; None keeps them
    in a temporary folder, for as long as the result lives. ``engine`` encodes those that are not there.

    Up to ``max_bad_rows`` bad rows of each are left out. With ``rejected_dir`` they are written to ``rejected.jsonl``
    there (those of one of several sources to ``rejected-{name}.jsonl``, of the evaluation data to
    ``rejected-eval.jsonl``), unless the data are refused.

    Raises:
        DataError: with every problem found in the datasets.
        SpecError: the template or a normalization step does not exist, or does not fit the tokenizer.
    """
    job, blocks = EncodingJob(config, method, tokenizer), BlockStore(store)
    parts = prepare_parts(job, blocks, engine)
    held = None
    if config.eval_dataset_path:
        held = load_sound(config.eval_dataset_path, job, blocks, engine)
    require_labels(parts, held, method)
    report = joined_report([part.report for part in parts], config)
    train = Selection.joined([part.train for part in parts])
    held_out = [part.held_out for part in parts if part.held_out is not None]
    evaluation = Selection.joined(held_out) if held_out else None
    every = [part.rows for part in parts]
    if held is not None:
        evaluation = Selection.of(held.index, first=sum(rows.num_groups for rows in every))
        report.eval = build_report(held, config, method, tokenizer)
        for part in parts:
            _warn_of_shared_prompts(report, part.rows, held)
        every.append(held)
    report.train_rows = sum(part.report.epoch_rows or 0 for part in parts)
    report.eval_rows = None if evaluation is None else len(evaluation)
    if rejected_dir is not None:
        for part in parts:
            suffix = f"-{part.name}" if len(parts) > 1 else ""
            _write_rejected(part.rows, rejected_dir / f"rejected{suffix}.jsonl")
        if held is not None:
            _write_rejected(held, rejected_dir / "rejected-eval.jsonl")
    stored = StoredBlocks(blocks, [(rows.files, rows.facts.rows) for rows in every])
    extent = Extent()
    for rows in every:
        extent.merge(rows.facts.extent)
    data = _dataset(train, stored, job, extent)
    if weights := [source.weight for source in config.sources if source.weight is not None]:
        sizes = {part.name: len(part.train) for part in parts}
        data = data.select(epoch_rows(sizes, weights, config.seed))
    eval_data = None if evaluation is None else _dataset(evaluation, stored, job, extent)
    return PreparedData(data, eval_data, report, extent, sum(rows.encoded for rows in every))


def _dataset(selection: Selection, blocks: StoredBlocks, job: EncodingJob, extent: Extent) -> GroupDataset:
    """The dataset of ``selection``, for KTO with baselines, of which the longest is added to ``extent``."""
    if not row_model(job.method).is_judged:
        return selection.dataset(blocks)
    config = job.config
    assert isinstance(config, PreferenceConfig)
    dataset = selection.judged_dataset(blocks, config.seed, config.max_length, config.max_tokens_per_batch)
    baselines = dataset.num_tokens - selection.columns["num_tokens"]
    extent.add(dataset[int((selection.columns["prompt_tokens"] + baselines).argmax())])
    return dataset


def _warn_of_shared_prompts(report: DataReport, train: EncodedRows, held: EncodedRows) -> None:
    seen, keys = (rows.keys("prompt_key") for rows in (train, held))
    if shared := int(np.isin(keys, seen).sum()):
        report.warnings.append(
            f"{shared:,} of {len(keys):,} evaluation rows have a prompt that is also in the training data."
        )


def _write_rejected(rows: EncodedRows, path: Path) -> None:
    if rows.facts.bad.count:
        rows.facts.bad.write(path, rows.source)
