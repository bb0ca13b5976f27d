# SPDX-License-Identifier: Apache-2.0
"""Every reason to refuse training on a dataset, from the facts of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tadrib.training.config import CommonConfig
from tadrib.training.data.blocks.encoded_rows import EncodedRows
from tadrib.training.data.blocks.facts import Facts
from tadrib.training.data.lengths import Limits
from tadrib.training.data.mask_check import mask_problems
from tadrib.training.errors import Problem


def refusal(rows: EncodedRows, config: CommonConfig, method: str) -> list[Problem]:
    """Every reason to refuse training on ``rows``, whatever it is trained on with; empty if there is none."""
    source, facts = rows.source, rows.facts
    problems = facts.bad.refusal(source, facts.rows, config.max_bad_rows)
    if not facts.usable:
        return problems or [Problem(source.name, "has no usable row.", "Fix the rows.")]
    if getattr(config, "length_normalization", "") == "given":
        problems += _missing_lengths(source.name, facts)
    problems += mask_problems(facts.masks, source.where)
    if config.truncation == "error":
        problems += _over_long(facts, Limits.of(config, method), source.where)
    return problems


def one_sided(name: str, labels: Mapping[str, int]) -> list[Problem]:
    """A problem if all rows have the same label: KTO needs desirable and undesirable ones."""
    desirable, undesirable = labels.get("desirable", 0), labels.get("undesirable", 0)
    if desirable and undesirable:
        return []
    kind = "desirable (label: true)" if desirable else "undesirable (label: false)"
    message = f"all {desirable + undesirable:,} rows are {kind}; KTO needs rows of both kinds."
    action = "Add rows of the other kind" + (", or train on these with method: sft." if desirable else ".")
    return [Problem(f"{name}: label", message, action, rule="labels_of_both_kinds")]


def _missing_lengths(name: str, facts: Facts) -> list[Problem]:
    if not facts.without_lengths:
        return []
    message = (
        "length_normalization: given needs chosen_length and rejected_length, which "
        f"{facts.without_lengths:,} rows lack."
    )
    return [
        Problem(name, message, "Add the columns, or set length_normalization: tokens.", rule="given_lengths")
    ]


def _over_long(facts: Facts, limits: Limits, where: Callable[[int], str]) -> list[Problem]:
    """One problem per exceeded limit, with the value that would fit. ``where`` turns a row's number into its place."""
    problems = []
    values = limits.as_dict()
    for key in (limits.total_key, limits.prompt_key, limits.group_key):
        if (over := facts.over.get(key)) is None:
            continue
        whole = ", including all answers" if key == limits.group_key else ""
        message = (
            f"{over.count:,} of {facts.usable:,} rows are longer than {key}={values[key]} tokens{whole}; "
            f"the longest has {over.length:,} ({where(over.number)})."
        )
        cut = "" if key == limits.group_key else "truncation: truncate to cut them, "
        action = f"Set {key}: {over.length} to fit them all, {cut}or truncation: drop to leave them out."
        problems.append(Problem(key, message, action, rule="row_lengths"))
    return problems
