# SPDX-License-Identifier: Apache-2.0
"""Our settings and rows in the words of TRL 1.16, by method; and what TRL has no word for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from training.data.group import NEGATIVES, Completion, Group, GroupDataset
from training.errors import Problem

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Translation:
    """A method as TRL knows it.

    ``settings`` are keyword arguments of TRL's config class. ``row`` gives a group's tokens the column names that
    TRL's own preparation would. ``lacking`` finds settings that TRL has no equal for. ``masks`` says whether TRL takes
    answers of which only some tokens are scored.
    """

    settings: Callable[[Any], Settings]
    row: Callable[[Group], dict[str, Any]]
    lacking: Callable[[Any], Iterator[Problem]] = lambda config: iter(())
    masks: bool = False

    def refused_rows(self, groups: GroupDataset, source: str) -> list[Problem]:
        """One problem for each kind of row that TRL has no equal for, at the place ``source``."""
        found: dict[str, list[int]] = {}
        for group in groups:
            for kind in self._refusals(group):
                found.setdefault(kind, []).append(group.row)
        return [
            _problem(
                source, f"{len(rows):,} of {len(groups):,} rows (first: row {rows[0] + 1}) {kind}", way_out
            )
            for kind, way_out in _ROW_REFUSALS.items()
            if (rows := found.get(kind))
        ]

    def _refusals(self, group: Group) -> Iterator[str]:
        roles = [completion.role for completion in group.completions]
        several, hard, partly = _ROW_REFUSALS
        if "hard_negative" in roles:
            yield hard
        elif sum(role in NEGATIVES for role in roles) > 1:
            yield several
        if not self.masks and any(completion.trained is not None for completion in group.completions):
            yield partly


_ROW_REFUSALS = {
    "have several rejected answers, but TRL compares pairs.": "Write one row for each rejected answer",
    "have hard_negatives, which TRL does not know.": "Write them as rejected, one row each",
    "have an answer of which only some tokens are trained, but TRL trains all.": "Leave them out",
}


def _problem(where: str, found: str, way_out: str) -> Problem:
    return Problem(where, found, f"{way_out}, or use engine: tadrib.", "trl_has_an_equal")


# --- rows


def _labels(group: Group, completion: Completion) -> list[int]:
    kept = completion.trained or [True] * len(completion.tokens)
    answer = [token if keep else -100 for token, keep in zip(completion.tokens, kept, strict=True)]
    return [-100] * len(group.prompt) + answer


def _sft_row(group: Group) -> dict[str, Any]:
    (response,) = group.completions
    return {"input_ids": group.prompt + response.tokens, "labels": _labels(group, response)}


def _pair_row(group: Group) -> dict[str, Any]:
    answers = {f"{completion.role}_ids": completion.tokens for completion in group.completions}
    return {"prompt_ids": group.prompt, **answers}


def _kto_row(group: Group) -> dict[str, Any]:
    answer, baseline = group.completions
    return {
        "prompt_ids": group.prompt,
        "completion_ids": answer.tokens,
        "KL_completion_ids": baseline.tokens,
        "label": group.label,
    }


def _cpo_row(group: Group) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for completion in group.completions:
        tokens = group.prompt + completion.tokens
        row[f"{completion.role}_input_ids"] = tokens
        row[f"{completion.role}_attention_mask"] = [1] * len(tokens)
        row[f"{completion.role}_labels"] = _labels(group, completion)
    return row


# --- settings: rows are cut already, and lora_dropout holds as the spec says


def _sft_settings(config) -> Settings:
    longest = config.max_seq_length if config.packing else None
    return {"packing": config.packing, "packing_strategy": "bfd", "max_length": longest}


def _dpo_settings(config) -> Settings:
    terms = {config.loss_type: 1.0} | ({"sft": config.sft_weight} if config.sft_weight else {})
    return {
        "beta": config.beta,
        "loss_type": list(terms),
        "loss_weights": list(terms.values()),
        "label_smoothing": config.label_smoothing,
        "max_length": None,
        "disable_dropout": False,
    }


def _ipo_settings(config) -> Settings:
    return {"beta": config.tau, "loss_type": ["ipo"], "max_length": None, "disable_dropout": False}


def _kto_settings(config) -> Settings:
    return {
        "beta": config.beta,
        "desirable_weight": config.desirable_weight,
        "undesirable_weight": config.undesirable_weight,
        "train_sampling_strategy": "sequential",
        "max_length": None,
        "disable_dropout": False,
    }


def _cpo_settings(config) -> Settings:
    return {
        "beta": config.beta,
        "loss_type": config.loss_type,
        "cpo_alpha": config.cpo_alpha,
        "simpo_gamma": config.simpo_gamma,
        "max_length": config.max_length,
        "disable_dropout": False,
    }


def _simpo_settings(config) -> Settings:
    return {
        "beta": config.beta,
        "loss_type": "simpo",
        "cpo_alpha": 0.0,
        "simpo_gamma": config.simpo_gamma,
        "max_length": config.max_length,
        "disable_dropout": False,
    }


# --- what TRL has no equal for


def _dpo_lacking(config) -> Iterator[Problem]:
    if config.label_smoothing and config.loss_type == "sigmoid":
        found = f"{config.label_smoothing}, which TRL's DPO ignores with loss_type: sigmoid."
        yield _problem("label_smoothing", found, "Set loss_type: robust")


def _ipo_lacking(config) -> Iterator[Problem]:
    if config.label_smoothing:
        found = f"{config.label_smoothing}, but TRL's IPO has no label smoothing."
        yield _problem("label_smoothing", found, "Set label_smoothing: 0")
    if config.length_normalization != "tokens":
        found = f"{config.length_normalization}, but TRL's IPO averages over tokens."
        yield _problem("length_normalization", found, "Set length_normalization: tokens")


def _kto_lacking(config) -> Iterator[Problem]:
    if config.per_device_train_batch_size == 1:
        found = "1, but TRL's KTO takes its baseline from several rows."
        yield _problem("per_device_train_batch_size", found, "Set per_device_train_batch_size: 2 or more")


def _cpo_lacking(config) -> Iterator[Problem]:
    if config.multi_negative == "softmax":
        found = "softmax over all candidates, but TRL compares pairs."
        yield _problem("multi_negative", found, "Set multi_negative: pairwise")


TRANSLATIONS: dict[str, Translation] = {
    "sft": Translation(_sft_settings, _sft_row, masks=True),
    "dpo": Translation(_dpo_settings, _pair_row, _dpo_lacking),
    "ipo": Translation(_ipo_settings, _pair_row, _ipo_lacking),
    "kto": Translation(_kto_settings, _kto_row, _kto_lacking),
    "cpo": Translation(_cpo_settings, _cpo_row, _cpo_lacking, masks=True),
    "simpo": Translation(_simpo_settings, _cpo_row, masks=True),
}
