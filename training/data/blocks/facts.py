# SPDX-License-Identifier: Apache-2.0
"""Facts about rows: counts that are taken block by block and added up, from which reports and refusals are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, Field

from tadrib.training.data.blocks.bad_rows import BadRows, escaped
from tadrib.training.data.extent import Extent
from tadrib.training.data.mask_check import MaskFault

MAX_COLUMNS = 100
"""Unknown columns counted separately: every row may have others."""


class Seen(BaseModel):
    """Rows with something in common: how many, the number of the first one, and a text found in it."""

    count: int = 0
    number: int = 0
    text: str = ""

    def add(self, number: int, text: str = "") -> None:
        if not self.count:
            self.number, self.text = number, text
        self.count += 1

    def merge(self, other: Seen) -> None:
        if not self.count:
            self.number, self.text = other.number, other.text
        self.count += other.count


class Longest(BaseModel):
    """Rows longer than a limit: how many, and the length and number of the longest."""

    count: int = 0
    length: int = 0
    number: int = 0

    def add(self, length: int, number: int, count: int = 1) -> None:
        if length > self.length:
            self.length, self.number = length, number
        self.count += count


class PairLengths(BaseModel):
    """Lengths of chosen answers and of their negatives: the sums, and how many pairs have each difference."""

    chosen: int = 0
    rejected: int = 0
    differences: Counter[int] = Field(default_factory=Counter)

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        for chosen, rejected in pairs:
            self.chosen += chosen
            self.rejected += rejected
            self.differences[chosen - rejected] += 1

    def merge(self, other: PairLengths) -> None:
        self.chosen += other.chosen
        self.rejected += other.rejected
        self.differences.update(other.differences)


class Facts(BaseModel):
    """Of the rows of a block, or of several blocks after ``merge``.

    - ``rows`` are all, ``usable`` those that are not ``bad``; ``answers`` are the usable ones'.
      ``formats`` counts the rows read as each format.
    - ``lengths`` counts the rows with each length of the prompt, of a completion, and of both (``total``), in tokens or
      in characters. ``pairs`` are in the same unit, ``given_pairs`` in that of the rows.
    - ``letters`` and ``arabic`` count letters of all texts; ``words`` and ``word_tokens`` those of trained answers.
    - ``masks`` has the first fault of each kind in the loss masks by its rule, with the row's number.
    - ``over`` counts the rows over each limit, by its config key. ``dropped`` and ``cut`` count what truncation did.
    - ``extent`` is that of the groups after truncation.
    """

    rows: int = 0
    usable: int = 0
    bad: BadRows = Field(default_factory=BadRows)
    formats: Counter[str] = Field(default_factory=Counter)
    unknown_columns: Counter[str] = Field(default_factory=Counter)
    has_more_columns: bool = False
    blank_lines: int = 0
    answers: int = 0
    letters: int = 0
    arabic: int = 0
    words: int = 0
    word_tokens: int = 0
    lengths: dict[str, Counter[int]] = Field(default_factory=dict)
    pairs: PairLengths = Field(default_factory=PairLengths)
    given_pairs: PairLengths = Field(default_factory=PairLengths)
    without_lengths: int = 0
    templates: Counter[str] = Field(default_factory=Counter)
    labels: Counter[str] = Field(default_factory=Counter)
    roles: Counter[str] = Field(default_factory=Counter)
    merges: Seen = Field(default_factory=Seen)
    control: dict[str, Seen] = Field(default_factory=dict)
    masks: dict[str, MaskFault] = Field(default_factory=dict)
    over: dict[str, Longest] = Field(default_factory=dict)
    document_parts: int = 0
    over_long: int = 0
    cut: int = 0
    dropped: int = 0
    extent: Extent = Field(default_factory=Extent)

    def count_unknown(self, columns: Iterable[str], count: int = 1) -> None:
        """Count rows with unknown ``columns``, new ones up to `MAX_COLUMNS`."""
        for column in map(escaped, columns):
            if column in self.unknown_columns or len(self.unknown_columns) < MAX_COLUMNS:
                self.unknown_columns[column] += count
            else:
                self.has_more_columns = True

    def merge(self, other: Facts, max_bad_rows: int) -> None:
        """Add the facts of the rows that follow; of bad rows, ``max_bad_rows`` are kept with their content."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("formats", "templates", "labels", "roles"):
            getattr(self, name).update(getattr(other, name))
        self.bad.merge(other.bad, max_bad_rows)
        for column, count in other.unknown_columns.items():
            self.count_unknown([column], count)
        self.has_more_columns |= other.has_more_columns
        for part, counts in other.lengths.items():
            self.lengths.setdefault(part, Counter()).update(counts)
        self.pairs.merge(other.pairs)
        self.given_pairs.merge(other.given_pairs)
        self.merges.merge(other.merges)
        for kind, seen in other.control.items():
            self.control.setdefault(kind, Seen()).merge(seen)
        self.masks = {**other.masks, **self.masks}
        for key, over in other.over.items():
            self.over.setdefault(key, Longest()).add(over.length, over.number, over.count)
        self.extent.merge(other.extent)


_SUMS = (
    *("rows", "usable", "blank_lines", "answers", "letters", "arabic", "words", "word_tokens"),
    *("without_lengths", "document_parts", "over_long", "cut", "dropped"),
)
