# SPDX-License-Identifier: Apache-2.0
"""Near duplicates among rows, by MinHash signatures (Broder 1997) and locality-sensitive hashing.

Two rows are near duplicates if both their prompts and their answers share at least `SIMILAR` of their stretches of five
characters (Jaccard similarity), and their numbers are the same. Answers alone say little where many are "yes", and
prompts alone little where one asks for many answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from tadrib.training.data.quality.row_texts import RowTexts

SIMILAR = 0.8
_STRETCH = 5
_SLOTS = 64
"""Of one signature; an estimate of 0.8 has a standard error of 0.05."""
_BANDS = 16
_BATCH = 2048
_MULTIPLIER = np.uint64(0x100000001B3)


class NearDuplicates:
    """Signatures of rows, kept in ``file``, a new binary file, by 258 bytes a row."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[tuple[str, str, int]] = []
        self._count = 0

    def add(self, row: RowTexts) -> None:
        """Add the next row."""
        self._waiting.append((row.prompt, row.answers, row.numbers))
        if len(self._waiting) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        prompts, answers, numbers = zip(*self._waiting, strict=True)
        # a prompt's and an answer's slots alternate, so that each band below holds as much of both
        both = np.stack([_signatures(prompts), _signatures(answers)], axis=2).reshape(len(prompts), -1)
        kept = np.concatenate([both, np.array(numbers, dtype=np.uint64)[:, None]], axis=1)
        self._file.write(kept.astype(np.uint16).tobytes())
        self._count += len(prompts)
        self._waiting.clear()

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Numbers of rows (in the order added, from 0), each with an earlier one that it nearly repeats, ascending.

        Rows are compared with the first and the previous one of each band in which their signatures agree. So a pair at
        similarity 0.8 in both parts is found with a probability of 0.95, one at 0.9 nearly always.
        """
        self._flush()
        if not self._count:
            return
        self._file.flush()
        table = np.memmap(self._file, dtype=np.uint16, mode="r", shape=(self._count, 2 * _SLOTS + 1))
        earlier = np.full(self._count, -1, dtype=np.int64)
        width = 2 * _SLOTS // _BANDS
        for band in range(_BANDS):
            keys = (
                np.ascontiguousarray(table[:, band * width : (band + 1) * width])
                .view(f"V{2 * width}")
                .ravel()
            )
            for row, candidate in _candidates(keys):
                wanted = earlier[row] < 0
                row, candidate = row[wanted], candidate[wanted]
                alike = table[row] == table[candidate]
                prompts, answers = alike[:, 0:-1:2].mean(1), alike[:, 1:-1:2].mean(1)
                similar = (np.minimum(prompts, answers) >= SIMILAR) & alike[:, -1]
                earlier[row[similar]] = candidate[similar]
        for number in np.flatnonzero(earlier >= 0).tolist():
            yield number, int(earlier[number])


def _candidates(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of rows and of earlier ones with the same of ``keys``: the first such row, and the previous one."""
    _, numbers = np.unique(keys, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    begins = np.r_[True, numbers[order][1:] != numbers[order][:-1]]
    first = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    later = np.flatnonzero(~begins)
    for start in range(0, len(later), _BATCH):
        places = later[start : start + _BATCH]
        yield order[places], first[places]
        yield order[places], order[places - 1]


def _signatures(texts: tuple[str, ...]) -> np.ndarray:
    """[texts, `_SLOTS`]: the MinHash signature of each text's stretches; the last ones run past its end, so that a text
    of one letter has one as well."""
    from rensa import RMinHash

    codes = [np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32) for text in texts]
    lengths = np.array([len(each) for each in codes])
    padding = np.zeros(_STRETCH - 1, dtype=np.uint32)
    joined = np.concatenate([part for each in codes for part in (each, padding)] + [padding]).astype(
        np.uint64
    )
    hashes = np.zeros(len(joined) - _STRETCH + 1, dtype=np.uint64)
    for shift in range(_STRETCH):
        hashes = hashes * _MULTIPLIER + joined[shift : shift + len(hashes)]
    starts = np.concatenate([[0], np.cumsum(lengths + _STRETCH - 1)[:-1]])
    places = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) + np.arange(
        lengths.sum()
    )
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    mixed = _mixed(hashes[places])
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(mixed, offsets, _SLOTS, 42)
    return np.array(matrix.to_rows(), dtype=np.uint64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer, which spreads what neighbouring code points differ in over all bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
