# SPDX-License-Identifier: Apache-2.0
"""Load a dataset for a method: read, validate and encode its rows, and check it as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tadrib.training.config import CommonConfig
from tadrib.training.config.dataset.layout import Layout
from tadrib.training.data.encoding import Encoded, Encoder, parts_of
from tadrib.training.data.group import Group
from tadrib.training.data.lengths import Limits, over_long_problems
from tadrib.training.data.mask_check import mask_problems
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.row_problem import RowError
from tadrib.training.data.validation import Validated, validate
from tadrib.training.errors import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class Loaded:
    """``encoded`` has the usable rows in file order, not truncated, and each part of a document; empty without a
    tokenizer."""

    validated: Validated
    dialogues: list[Dialogue]
    encoded: list[Encoded]

    def where(self, index: int) -> str:
        """The location of the row with 0-based ``index``, for messages."""
        number = next(row.raw.number for row in self.validated.rows if row.index == index)
        return self.validated.source.where(number)


def load(name: str, config: CommonConfig, method: str, tokenizer: PreTrainedTokenizerBase | None) -> Loaded:
    """Load the dataset ``name``. Rows that the template cannot render are added to the bad rows.

    Raises:
        DataError: the dataset cannot be read at all.
        SpecError: the template or a normalization step does not exist, or does not fit the tokenizer.
    """
    validated = validate(name, method, config.max_bad_rows, Layout.of(config))
    if tokenizer is None:
        return Loaded(validated, [row.dialogue for row in validated.rows], [])
    encoder = Encoder(tokenizer, config, method)
    results = encoder.encode_batch([(row.index, row.dialogue) for row in validated.rows])
    encoded: list[Encoded] = []
    limits = Limits.of(config, method)
    for row, result in zip(validated.rows, results, strict=True):
        if isinstance(result, RowError):
            validated.bad.add(row.raw, result.problems)
        else:
            encoded += parts_of(result, limits.total)
    return Loaded(validated, [item.dialogue for item in encoded], encoded)


def refusal(
    loaded: Loaded, config: CommonConfig, method: str, tokenizer: PreTrainedTokenizerBase | None
) -> list[Problem]:
    """Every reason to refuse training on ``loaded``, whatever it is trained on with; empty if there is none."""
    name = loaded.validated.source.name
    problems = loaded.validated.bad.refusal(loaded.validated.num_rows)
    if not loaded.dialogues:
        return problems or [Problem(name, "has no usable row.", "Fix the rows.")]
    if getattr(config, "length_normalization", "") == "given":
        problems += _missing_lengths(name, loaded.dialogues)
    if tokenizer is not None:
        problems += mask_problems(loaded.encoded, tokenizer, loaded.where)
        if config.truncation == "error":
            problems += _over_long(loaded, Limits.of(config, method))
    return problems


def one_sided(name: str, labels: Sequence[bool | None]) -> list[Problem]:
    """A problem if all rows have the same label: KTO needs desirable and undesirable ones."""
    desirable = sum(label is True for label in labels)
    undesirable = len(labels) - desirable
    if desirable and undesirable:
        return []
    kind = "desirable (label: true)" if desirable else "undesirable (label: false)"
    message = f"all {len(labels):,} rows are {kind}; KTO needs rows of both kinds."
    action = "Add rows of the other kind" + (", or train on these with method: sft." if desirable else ".")
    return [Problem(f"{name}: label", message, action, rule="labels_of_both_kinds")]


def _missing_lengths(name: str, dialogues: Sequence[Dialogue]) -> list[Problem]:
    without = sum(not dialogue.lengths for dialogue in dialogues)
    if not without:
        return []
    message = (
        f"length_normalization: given needs chosen_length and rejected_length, which {without:,} rows lack."
    )
    return [
        Problem(name, message, "Add the columns, or set length_normalization: tokens.", rule="given_lengths")
    ]


def _over_long(loaded: Loaded, limits: Limits) -> list[Problem]:
    groups: list[Group] = [item.group for item in loaded.encoded]
    over = [group for group in groups if not limits.fits(group)]
    return over_long_problems(over, len(groups), limits, loaded.where)
