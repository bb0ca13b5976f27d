# SPDX-License-Identifier: Apache-2.0
"""A selection of encoded groups: where they are, and what the index says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from tadrib.training.data.baselines import donors
from tadrib.training.data.blocks.index import SCHEMA
from tadrib.training.data.group import Counts
from tadrib.training.data.group_dataset import Baselines, GroupBlocks, GroupDataset


@dataclass(frozen=True, slots=True)
class Selection:
    """The groups at ``positions`` of some blocks, with their rows of the index by column."""

    positions: np.ndarray
    columns: dict[str, np.ndarray]

    @classmethod
    def of(cls, index: pa.Table, first: int = 0) -> Selection:
        """All groups of rows with this ``index``, the first of them at position ``first``."""
        kept = index["is_kept"].to_numpy()
        columns = {name: index[name].to_numpy()[kept] for name in SCHEMA.names if name != "counts"}
        counts = pa.array(index["counts"].combine_chunks()).flatten().to_numpy()
        columns["counts"] = counts.reshape(len(kept), len(Counts._fields))[kept]
        return cls(np.arange(first, first + len(columns["label"]), dtype=np.int32), columns)

    @classmethod
    def joined(cls, parts: Sequence[Selection]) -> Selection:
        """One after the other."""
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
        return cls(np.concatenate([part.positions for part in parts]), columns)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, chosen: np.ndarray) -> Selection:
        """Those at the places in ``chosen``, or where it is true."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return Selection(self.positions[chosen], columns)

    @property
    def labels(self) -> dict[str, int]:
        """The groups of each of KTO's labels."""
        labels = self.columns["label"]
        return {"desirable": int((labels == 1).sum()), "undesirable": int((labels == 0).sum())}

    def dataset(self, blocks: GroupBlocks) -> GroupDataset:
        return GroupDataset(blocks, self.positions, self.columns["num_tokens"], self.columns["counts"])

    def judged_dataset(
        self, blocks: GroupBlocks, seed: int, longest: int, largest: int | None = None
    ) -> GroupDataset:
        """The dataset in which each group has a KTO baseline, within the limits of `Baselines`.

        Rows are arranged in a random circle; each takes the answer of the next row with a different prompt, or of the
        next row if all prompts are the same.
        """
        given = donors(self.columns["prompt_hash"], seed)
        room = longest - self.columns["prompt_tokens"]
        if largest is not None:
            room = np.minimum(room, largest - self.columns["num_tokens"])
        tokens = np.minimum(np.maximum(room, 1), self.columns["answer_tokens"][given])
        targets = tokens.copy()
        masked = self.columns["answer_targets"] < self.columns["answer_tokens"]
        for i in np.flatnonzero(masked[given]).tolist():
            trained = blocks[int(self.positions[given[i]])].completions[0].trained or []
            targets[i] = sum(trained[: tokens[i]])
        counts = self.columns["counts"].copy()
        counts[:, Counts._fields.index("targets")] += targets
        return replace(
            self.dataset(blocks),
            num_tokens=self.columns["num_tokens"] + tokens,
            counts=counts,
            baselines=Baselines(self.positions[given], longest, largest),
        )
