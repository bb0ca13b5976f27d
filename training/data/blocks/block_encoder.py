# SPDX-License-Identifier: Apache-2.0
"""Encode a block: from raw rows to groups within the limits in an Arrow table, with the facts of all its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from tadrib.training.config.dataset.layout import Layout
from tadrib.training.data.blocks.encoding_job import EncodingJob
from tadrib.training.data.blocks.facts import Facts
from tadrib.training.data.blocks.index import index_table, keys_of
from tadrib.training.data.blocks.measuring import measure_characters, measure_texts, measure_tokens
from tadrib.training.data.blocks.raw_block import RawBlock
from tadrib.training.data.encoding import Encoded, Encoder, parts_of
from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.group import Group
from tadrib.training.data.group_table import group_table
from tadrib.training.data.lengths import Limits, fit
from tadrib.training.data.mask_check import MaskCheck
from tadrib.training.data.readers.raw_row import RawRow
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.models import row_model
from tadrib.training.data.rows.row_problem import RowError


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """``index`` has a row for each usable row; ``groups`` has one for each that is within the limits."""

    facts: Facts
    index: pa.Table
    groups: pa.Table


@dataclass(frozen=True, slots=True)
class _ValidRow:
    """``index`` is the 0-based position among all rows, including bad ones: ``Group.row``."""

    index: int
    raw: RawRow
    dialogue: Dialogue


class BlockEncoder:
    """Encodes the blocks of one job.

    Raises SpecError if the template or a normalization step does not exist, or does not fit the tokenizer.
    """

    def __init__(self, job: EncodingJob) -> None:
        self._policy = job.config.truncation
        self._reader = RowReader(job.method, Layout.of(job.config))
        self._is_judged = row_model(job.method).is_judged
        self._limits = Limits.of(job.config, job.method)
        self._tokenizer = job.tokenizer
        if job.tokenizer is not None:
            self._encoder = Encoder(job.tokenizer, job.config, job.method)
            self._masks = MaskCheck(job.tokenizer)

    def encode(self, block: RawBlock) -> EncodedBlock:
        facts = Facts(rows=len(block.rows), blank_lines=block.blank_lines)
        rows = list(self._valid(block, facts))
        if self._tokenizer is None:
            dialogues = [row.dialogue for row in rows]
            measure_texts(facts, dialogues, is_judged=self._is_judged)
            measure_characters(facts, dialogues)
            keys = [keys_of(dialogue) for dialogue in dialogues]
            return EncodedBlock(facts, index_table(keys, [None] * len(keys)), group_table([]))
        encoded = list(self._encoded(rows, facts))
        dialogues = [item.dialogue for _, item in encoded if not item.dialogue.part]
        measure_texts(facts, dialogues, is_judged=self._is_judged)
        measure_tokens(facts, encoded, self._limits)
        facts.masks = self._masks.faults(encoded)
        fitted = [self._fitted(item.group, facts) for _, item in encoded]
        kept = [group for group in fitted if group is not None]
        for group in kept:
            facts.extent.add(group)
        keys = [keys_of(item.dialogue) for _, item in encoded]
        return EncodedBlock(facts, index_table(keys, fitted), group_table(kept))

    def _valid(self, block: RawBlock, facts: Facts) -> Iterator[_ValidRow]:
        """The valid rows of ``block``. Bad ones are counted, not raised."""
        for index, raw in enumerate(block, start=block.first):
            if raw.value is None:
                facts.bad.add(raw, [raw.problem] if raw.problem else [])
                continue
            try:
                read = self._reader.read(raw.value)
            except RowError as error:
                facts.bad.add(raw, error.problems)
                continue
            facts.formats[read.format] += 1
            facts.count_unknown(read.unused)
            yield _ValidRow(index, raw, read.row.dialogue)

    def _encoded(self, rows: list[_ValidRow], facts: Facts) -> Iterator[tuple[int, Encoded]]:
        """The rows' numbers and encodings, those of a document in parts. Rows that the template cannot render are bad
        as well."""
        results = self._encoder.encode_batch([(row.index, row.dialogue) for row in rows])
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, RowError):
                facts.bad.add(row.raw, result.problems)
            else:
                yield from ((row.raw.number, part) for part in parts_of(result, self._limits.total))

    def _fitted(self, group: Group, facts: Facts) -> Group | None:
        """``group`` by the truncation policy. Under ``error`` the data are refused by their facts."""
        assert self._tokenizer is not None
        fitted = fit(group, self._limits, self._policy, self._tokenizer.bos_token_id)
        facts.dropped += fitted is None
        facts.cut += fitted is not None and fitted is not group
        return fitted
