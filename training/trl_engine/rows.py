# SPDX-License-Identifier: Apache-2.0
"""Convert groups to rows of TRL 1.16, with the columns of TRL's own preprocessing; find unsupported rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tadrib.training.data.group import NEGATIVES, Completion, Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.errors import Problem

_REFUSALS = {
    "have several rejected answers, but TRL compares pairs.": "Write one row for each rejected answer",
    "have hard_negatives, which TRL does not support.": "Write them as rejected, one row each",
    "have an answer of which only some tokens are trained, but TRL trains all.": "Leave them out",
}


def unsupported(where: str, found: str, alternative: str) -> Problem:
    """The problem that TRL does not support what was ``found``."""
    return Problem(where, found, f"{alternative}, or use engine: tadrib.", "trl_supports_it")


def refused_rows(groups: GroupDataset, source: str, *, masks: bool) -> list[Problem]:
    """One problem for each kind of row that TRL does not support, reported at ``source``.

    ``masks`` says whether TRL supports answers of which only some tokens are scored.
    """
    found: dict[str, list[int]] = {}
    for group in groups:
        for kind in _refusals(group, masks):
            found.setdefault(kind, []).append(group.row)
    return [
        unsupported(
            source, f"{len(rows):,} of {len(groups):,} rows (first: row {rows[0] + 1}) {kind}", alternative
        )
        for kind, alternative in _REFUSALS.items()
        if (rows := found.get(kind))
    ]


def _refusals(group: Group, masks: bool) -> Iterator[str]:
    roles = [completion.role for completion in group.completions]
    several, hard, partly = _REFUSALS
    if "hard_negative" in roles:
        yield hard
    elif sum(role in NEGATIVES for role in roles) > 1:
        yield several
    if not masks and any(completion.trained is not None for completion in group.completions):
        yield partly


def _labels(group: Group, completion: Completion) -> list[int]:
    kept = completion.trained or [True] * len(completion.tokens)
    answer = [token if keep else -100 for token, keep in zip(completion.tokens, kept, strict=True)]
    return [-100] * len(group.prompt) + answer


def sft_row(group: Group) -> dict[str, Any]:
    (response,) = group.completions
    return {"input_ids": group.prompt + response.tokens, "labels": _labels(group, response)}


def pair_row(group: Group) -> dict[str, Any]:
    answers = {f"{completion.role}_ids": completion.tokens for completion in group.completions}
    return {"prompt_ids": group.prompt, **answers}


def kto_row(group: Group) -> dict[str, Any]:
    answer, baseline = group.completions
    return {
        "prompt_ids": group.prompt,
        "completion_ids": answer.tokens,
        "KL_completion_ids": baseline.tokens,
        "label": group.label,
    }


def cpo_row(group: Group) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for completion in group.completions:
        tokens = group.prompt + completion.tokens
        row[f"{completion.role}_input_ids"] = tokens
        row[f"{completion.role}_attention_mask"] = [1] * len(tokens)
        row[f"{completion.role}_labels"] = _labels(group, completion)
    return row
