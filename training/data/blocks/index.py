# SPDX-License-Identifier: Apache-2.0
"""The index of a block: a few numbers for each of its usable rows, from which data are split, planned and checked
without reading a token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tadrib.training.data.group import Counts, Group
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.split import hash_of, prompt_key

_COUNTS = len(Counts._fields)
SCHEMA = pa.schema(
    [
        ("row_key", pa.uint64()),  # equal for equal rows
        ("prompt_key", pa.uint64()),  # equal for equal prompts
        ("is_row", pa.bool_()),  # not so for the further parts of a document
        ("is_kept", pa.bool_()),  # within the limits: the row has a group, and numbers below
        ("label", pa.int8()),  # KTO's: 1, 0, or -1 for none
        ("num_tokens", pa.int32()),
        ("counts", pa.list_(pa.int32(), _COUNTS)),
        ("prompt_tokens", pa.int32()),
        ("answer_tokens", pa.int32()),  # of the first answer
        ("answer_targets", pa.int32()),
        ("prompt_hash", pa.uint64()),  # equal for equal token ids
    ]
)


def keys_of(dialogue: Dialogue) -> tuple[int, int, bool]:
    """The row's and the prompt's key, and whether it is a row of its own."""
    key = hash_of(repr(dialogue).encode("utf-8", "surrogatepass"))
    return key, prompt_key(dialogue), not dialogue.part


def index_table(keys: Sequence[tuple[int, int, bool]], groups: Sequence[Group | None]) -> pa.Table:
    """The index of rows with these keys, by `keys_of`, and ``groups``; None stands for a row that has none."""
    rows = [(*key, *_numbers(group)) for key, group in zip(keys, groups, strict=True)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _numbers(group: Group | None) -> tuple[object, ...]:
    if group is None:
        return False, -1, 0, [0] * _COUNTS, 0, 0, 0, 0
    answer = group.completions[0]
    return (
        True,
        -1 if group.label is None else int(group.label),
        group.num_tokens,
        list(group.counts),
        len(group.prompt),
        len(answer.tokens),
        answer.num_targets,
        hash_of(np.asarray(group.prompt, dtype=np.int32).tobytes()),
    )
