# SPDX-License-Identifier: Apache-2.0
"""Extent of groups: the longest sequence and the largest token id, to compare with a model's limits."""

from __future__ import annotations

from pydantic import BaseModel

from tadrib.training.data.group import Group
from tadrib.training.data.lengths import longest_sequence


class Extent(BaseModel):
    """``longest`` is the maximum length of a prompt with one of its completions, found in dataset row ``row`` (from 0);
    ``largest_id`` is the largest token id."""

    longest: int = 0
    row: int = 0
    largest_id: int = 0

    def add(self, group: Group) -> None:
        ids = [group.prompt, *(completion.tokens for completion in group.completions)]
        largest = max(max(tokens, default=0) for tokens in ids)
        self.merge(Extent(longest=longest_sequence(group), row=group.row, largest_id=largest))

    def merge(self, other: Extent) -> None:
        if other.longest > self.longest:
            self.longest, self.row = other.longest, other.row
        self.largest_id = max(self.largest_id, other.largest_id)
