# SPDX-License-Identifier: Apache-2.0
"""Inspect a dataset in one pass: repeated rows, near duplicates, prompts of the evaluation data, and its writing.

Memory grows by 32 bytes a row, a temporary file by 256.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.quality.checked_rows import checked_rows
from tadrib.training.data.quality.near_duplicates import NearDuplicates
from tadrib.training.data.quality.row_texts import RowTexts
from tadrib.training.data.quality.writing import Writing
from tadrib.training.data.readers.sources import Source, open_source

_SHOWN = 5


@dataclass(slots=True)
class Repetition:
    """Rows that repeat an earlier one: their count, and the places of the first few, each with that of the earlier."""

    count: int = 0
    places: list[tuple[int | str, int | str]] = field(default_factory=list)

    def listed(self, unit: str) -> str:
        pairs = ", ".join(f"{later} repeats {earlier}" for later, earlier in self.places)
        return f"{unit} {pairs}{', …' if self.count > len(self.places) else ''}"


@dataclass(slots=True)
class Quality:
    """``repeated`` rows equal an earlier one; ``near`` are the other near duplicates. ``held_prompts`` counts rows
    whose prompt, but for spelling, is in the evaluation data; None without these."""

    rows: int = 0
    repeated: Repetition = field(default_factory=Repetition)
    near: Repetition = field(default_factory=Repetition)
    held_prompts: int | None = None
    writing: Writing = field(default_factory=Writing)

    def warnings(self, unit: str) -> Iterator[str]:
        """One or two sentences on each thing found that training would do badly with."""
        if self.repeated.count:
            yield (
                f"{self.repeated.count:,} of {self.rows:,} rows repeat an earlier one ({self.repeated.listed(unit)}), "
                "and are trained on as often. `tadrib data clean` leaves them out."
            )
        if self.near.count:
            yield (
                f"{self.near.count:,} rows nearly repeat an earlier one ({self.near.listed(unit)}): prompt and answers "
                "are alike but for spelling or a few words. `tadrib data clean` leaves them out."
            )
        if self.held_prompts:
            yield (
                f"{self.held_prompts:,} rows have a prompt that is, but for spelling, in the evaluation data as well: "
                "their score says how well they are memorized. `tadrib data clean --against` leaves them out."
            )
        yield from self.writing.warnings()


def inspect(name: str, reader: RowReader, held: str | None = None) -> Quality:
    """The quality of the usable rows of the dataset ``name``, next to the evaluation data ``held``.

    Raises:
        DataError: one of them cannot be read.
    """
    quality = Quality()
    numbers, keys, prompts = array("q"), array("Q"), array("Q")
    with tempfile.TemporaryFile() as file:
        near = NearDuplicates(file)
        source = open_source(name, reader.layout.columns)
        for row in checked_rows(source, reader):
            if row.dialogue is None:
                continue
            texts = RowTexts(row.dialogue)
            numbers.append(row.raw.number)
            keys.append(texts.key)
            prompts.append(texts.prompt_key)
            near.add(texts)
            quality.writing.add(texts)
        first = _first_with(np.array(keys, dtype=np.uint64))
        own = np.arange(len(first))
        repeated = np.flatnonzero(first != own)
        near_pairs = ((later, earlier) for later, earlier in near.pairs() if first[later] == later)
        quality.near = _repetition(near_pairs, numbers, source)
    quality.rows = len(numbers)
    pairs = zip(repeated.tolist(), first[repeated].tolist(), strict=True)
    quality.repeated = _repetition(pairs, numbers, source)
    if held is not None:
        found = np.isin(np.array(prompts, dtype=np.uint64), _prompt_keys(held, reader))
        quality.held_prompts = int(found.sum())
    return quality


def _prompt_keys(name: str, reader: RowReader) -> np.ndarray:
    rows = checked_rows(open_source(name, reader.layout.columns), reader)
    keys = array("Q", (RowTexts(row.dialogue).prompt_key for row in rows if row.dialogue is not None))
    return np.unique(np.array(keys, dtype=np.uint64))


def _first_with(keys: np.ndarray) -> np.ndarray:
    """The number of the first row with the key of each row."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse] if len(keys) else np.empty(0, dtype=np.int64)


def _repetition(pairs: Iterable[tuple[int, int]], numbers: array, source: Source) -> Repetition:
    found = Repetition()
    for later, earlier in pairs:
        found.count += 1
        if len(found.places) < _SHOWN:
            found.places.append((source.short(numbers[later]), source.short(numbers[earlier])))
    return found
