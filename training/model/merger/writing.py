# SPDX-License-Identifier: Apache-2.0
"""Write a merged model to a folder: weights, config, what is carried beside them, and what the merge came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tadrib.training.model.fingerprint import model_fingerprint
from tadrib.training.model.merger.merged_folder import carry, write_config
from tadrib.training.model.merger.opened_model import OpenedModel
from tadrib.training.model.merger.outcome import FILE, MergeOutcome
from tadrib.training.model.weight_files.rounding import SurvivalReport
from tadrib.training.model.weight_files.shards import SHARD_BYTES
from tadrib.training.model.weight_files.weight_writer import Rounding, Steps, common_dtype, write_weights


@dataclass(frozen=True, slots=True)
class Writing:
    """Where and how a merge is written; see `ModelMerger` for each."""

    output: Path
    dtype: str | None = None
    rounding: Rounding = "nearest"
    seed: int = 0
    shard_bytes: int = SHARD_BYTES

    def write(
        self, weights: Steps, folder: Path, models: Sequence[OpenedModel], carried: OpenedModel, method: str
    ) -> MergeOutcome:
        """Write ``weights``, merged from ``models``, with the tokenizer of ``carried``, to ``folder``."""
        dtype = None if self.dtype is None else getattr(torch, self.dtype)
        survived = write_weights(
            weights, folder, dtype, rounding=self.rounding, seed=self.seed, shard_bytes=self.shard_bytes
        )
        written = common_dtype(weights, dtype)
        rows = next(
            (weights.shape(name)[0] for name in weights.names if name.endswith("embed_tokens.weight")), None
        )
        carry(carried.folders, folder)
        write_config(models[0].config, folder, written, is_tied=models[0].is_tied, vocabulary=rows)
        inputs = {str(path): model_fingerprint(path) for each in models for path in each.folders}
        survival = SurvivalReport.of(survived)
        return MergeOutcome(self.output, method, inputs, written, self.rounding, survival=survival)


def write_outcome(outcome: MergeOutcome, folder: Path) -> None:
    """Write merge.json."""
    text = json.dumps(outcome.to_mapping(), ensure_ascii=False, indent=2)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")
