# SPDX-License-Identifier: Apache-2.0
"""The interface between data and engine: a *group* is one prompt and its completions, as token ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datasets import Dataset, Features, List, Value, load_from_disk

ROLES = ("response", "chosen", "rejected", "hard_negative", "completion", "kl")
"""The role of a completion in its group; ``kl`` is another row's answer, for KTO's baseline."""
NEGATIVES = ("rejected", "hard_negative")


@dataclass(frozen=True, slots=True)
class Completion:
    """Tokens that follow a prompt. ``trained[i]`` says whether token ``i`` is scored; None means all are."""

    tokens: list[int]
    role: str
    trained: list[bool] | None = None

    @property
    def num_targets(self) -> int:
        return len(self.tokens) if self.trained is None else sum(self.trained)


class Counts(NamedTuple):
    """The denominators of losses, for one group or summed over several.

    ``targets`` counts scored tokens, ``pairs`` each chosen answer with each of its negatives, ``chosen_targets`` scored
    tokens of chosen answers, and ``paired_chosen_targets`` those once per pair.
    """

    groups: int = 0
    targets: int = 0
    pairs: int = 0
    chosen_targets: int = 0
    paired_chosen_targets: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt with its completions.

    ``row`` is the 0-based number of the source row, for error messages. ``label`` is KTO's (True = desirable).
    ``lengths`` are the optional lengths given by IPO rows, one per completion. ``reference`` has the reference model's
    summed log-prob of each completion, if precomputed.
    """

    prompt: list[int]
    completions: list[Completion]
    row: int
    label: bool | None = None
    lengths: list[int] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens that the engine computes: the prompt once, and every completion."""
        return len(self.prompt) + sum(len(c.tokens) for c in self.completions)

    def split(self, role: str) -> tuple[Group, Group]:
        """Split into two groups with the same prompt: without the completions of ``role``, and with only those."""
        numbers = range(len(self.completions))
        apart = [i for i in numbers if self.completions[i].role == role]
        return self._with([i for i in numbers if i not in apart]), self._with(apart)

    def _with(self, kept: list[int]) -> Group:
        return replace(
            self,
            completions=[self.completions[i] for i in kept],
            lengths=[self.lengths[i] for i in kept if self.lengths],
            reference=[self.reference[i] for i in kept if self.reference],
        )

    @property
    def counts(self) -> Counts:
        chosen = sum(c.num_targets for c in self.completions if c.role == "chosen")
        pairs = sum(c.role in NEGATIVES for c in self.completions)
        return Counts(
            groups=1,
            targets=sum(c.num_targets for c in self.completions),
            pairs=pairs,
            chosen_targets=chosen,
            paired_chosen_targets=chosen * pairs,
        )


_FEATURES = Features(
    {
        "prompt": List(Value("int32")),
        "completions": List(List(Value("int32"))),
        "trained": List(List(Value("bool"))),  # an empty list stands for None: every token is trained
        "roles": List(Value("string")),
        "row": Value("int64"),
        "label": Value("bool"),
        "lengths": List(Value("int32")),
        "num_tokens": Value("int32"),
        "counts": List(Value("int32"), length=len(Counts._fields)),
        "reference": List(Value("float32")),
    }
)


def _to_record(group: Group) -> dict:
    return {
        "prompt": group.prompt,
        "completions": [c.tokens for c in group.completions],
        "trained": [c.trained or [] for c in group.completions],
        "roles": [c.role for c in group.completions],
        "row": group.row,
        "label": group.label,
        "lengths": group.lengths,
        "num_tokens": group.num_tokens,
        "counts": group.counts,
        "reference": group.reference,
    }


class GroupDataset:
    """Groups in an Arrow table, memory-mapped from disk and so shared by all workers of a node."""

    def __init__(self, table: Dataset) -> None:
        self.table = table
        self.num_tokens = np.asarray(table["num_tokens"], dtype=np.int64)
        self._counts = np.asarray(table["counts"], dtype=np.int64).reshape(-1, len(Counts._fields))

    @classmethod
    def from_groups(cls, groups: Iterable[Group]) -> GroupDataset:
        return cls(Dataset.from_list([_to_record(g) for g in groups], features=_FEATURES))

    @classmethod
    def load(cls, path: str | Path) -> GroupDataset:
        return cls(load_from_disk(str(path)))

    def save(self, path: str | Path) -> None:
        self.table.save_to_disk(str(path))

    def __len__(self) -> int:
        return len(self.table)

    def with_reference(self, scores: list[list[float]]) -> GroupDataset:
        """The same groups with ``reference`` filled in: one list of completion scores per group."""
        column = self.table.features["reference"]
        return GroupDataset(
            self.table.remove_columns("reference").add_column("reference", scores, feature=column)
        )

    def select(self, members: list[int]) -> GroupDataset:
        """A dataset of only these groups, in this order."""
        return GroupDataset(self.table.select(members))

    def count(self, members: list[int]) -> Counts:
        """The summed counts of several groups."""
        return Counts(*self._counts[members].sum(0).tolist())

    def __iter__(self) -> Iterator[Group]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Group:
        record = self.table[int(index)]
        completions = [
            Completion(tokens, role, trained or None)
            for tokens, role, trained in zip(
                record["completions"], record["roles"], record["trained"], strict=True
            )
        ]
        return Group(
            record["prompt"],
            completions,
            record["row"],
            record["label"],
            record["lengths"],
            record["reference"],
        )
