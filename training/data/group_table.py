# SPDX-License-Identifier: Apache-2.0
"""Groups as rows of Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tadrib.training.data.group import Completion, Group

SCHEMA = pa.schema(
    [
        ("prompt", pa.list_(pa.int32())),
        ("completions", pa.list_(pa.list_(pa.int32()))),
        ("trained", pa.list_(pa.list_(pa.bool_()))),  # an empty list stands for None: every token is trained
        ("roles", pa.list_(pa.string())),
        ("row", pa.int64()),
        ("label", pa.bool_()),
        ("lengths", pa.list_(pa.int32())),
    ]
)


def group_table(groups: Sequence[Group]) -> pa.Table:
    """``groups`` in one record batch. Reference log-probs are not in it."""
    columns = [
        [group.prompt for group in groups],
        [[each.tokens for each in group.completions] for group in groups],
        [[each.trained or [] for each in group.completions] for group in groups],
        [[each.role for each in group.completions] for group in groups],
        [group.row for group in groups],
        [group.label for group in groups],
        [group.lengths for group in groups],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_batches([pa.record_batch(arrays, schema=SCHEMA)])


def group_in(batch: pa.RecordBatch, row: int) -> Group:
    """The group in row ``row`` of a batch with the columns of ``SCHEMA``."""
    prompt, completions, trained, roles, number, label, lengths = (
        column[row].as_py() for column in batch.columns
    )
    answers = [
        Completion(tokens, role, mask or None)
        for tokens, role, mask in zip(completions, roles, trained, strict=True)
    ]
    return Group(prompt, answers, number, label, lengths)
