# SPDX-License-Identifier: Apache-2.0
"""Whether models go together: same architecture, tensors, tying of the head, and vocabulary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tadrib.training.config.problems.violations import show
from tadrib.training.errors import Problem, SpecError, named
from tadrib.training.files.regular_file import read_regular
from tadrib.training.model.merger import TITLE
from tadrib.training.model.merger.opened_model import OpenedModel

_OF_NO_WEIGHT = (
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "initializer_range",
    "pad_token_id",
    "tadrib_tiny_model",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "vocab_size",
    "tie_word_embeddings",
)
"""Keys of config.json that do not change what a weight means, and those that are compared otherwise."""


def require_compatible(models: Sequence[OpenedModel]) -> None:
    """Raise SpecError, with each way in which a model differs from the first."""
    first, *others = models
    problems = [problem for other in others for problem in _differences(first, other)]
    if problems:
        raise SpecError(TITLE, problems)


def _differences(first: OpenedModel, other: OpenedModel) -> Iterator[Problem]:
    if other.config.get("model_type") != first.config.get("model_type"):
        kinds = (
            f"is a {other.config.get('model_type')}, and {first.title} a {first.config.get('model_type')}."
        )
        yield Problem(other.title, kinds, "Merge models of one architecture.")
        return
    if other.is_tied != first.is_tied:
        tied, untied = (first, other) if first.is_tied else (other, first)
        message = (
            f"the head of {tied.title} is its embedding, and that of {untied.title} is a tensor of its own."
        )
        yield Problem(
            other.title, message, f"Save {tied.title} again with tie_word_embeddings: false and its head."
        )
    if (differing := list(_settings(first.config, other.config))) and not _differs_in_shape(first, other):
        message = f"has another config.json than {first.title}: {named(differing[:3])}."
        yield Problem(
            other.title, message, "Merge models that were trained from one revision of one base model."
        )
    yield from _tensors(first, other)
    if token := _differing_token(first.folders, other.folders):
        message = f"has another tokenizer than {first.title}: {token}."
        yield Problem(
            other.title, message, "Merge models of one vocabulary: rows of the embedding are tokens."
        )


def _differs_in_shape(first: OpenedModel, other: OpenedModel) -> bool:
    return any(True for _ in _tensors(first, other))


def _tensors(first: OpenedModel, other: OpenedModel) -> Iterator[Problem]:
    own, theirs = set(first.weights.names), set(other.weights.names)
    heads = {"lm_head.weight"} if first.is_tied != other.is_tied else set()
    for one, names in ((first, own - theirs - heads), (other, theirs - own - heads)):
        if names:
            without = other if one is first else first
            message = f"lacks {named(sorted(names)[:3])}{_more(names)}, which {one.title} has."
            yield Problem(without.title, message, "Merge models of one architecture, with all their shards.")
    wrong = [name for name in own & theirs if first.weights.shape(name) != other.weights.shape(name)]
    if wrong:
        name = min(wrong, key=lambda each: ("embed" not in each, each))
        shapes = f"{list(other.weights.shape(name))}, and {first.title} {list(first.weights.shape(name))}"
        action = "Merge models of one size and vocabulary."
        if "embed" in name:
            action = "Their vocabularies differ in size: resize one with resize_token_embeddings."
        yield Problem(other.title, f"has {name} of {shapes}{_more(wrong, 1)}.", action)


def _more(names: Sequence[str] | set[str], shown: int = 3) -> str:
    return f" (and {len(names) - shown:,} more)" if len(names) > shown else ""


def _settings(first: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    for key in sorted({*first, *other} - {*_OF_NO_WEIGHT}):
        own, theirs = first.get(key), other.get(key)
        if isinstance(own, dict) and isinstance(theirs, dict):
            yield from _settings(own, theirs)
        elif own != theirs and own is not None and theirs is not None:
            yield f"{key} is {show(theirs)}, not {show(own)}"


def _differing_token(first: Sequence[Path], other: Sequence[Path]) -> str:
    """The first token with different ids; empty if there is none, or one of the models has no tokenizer.json."""
    own, theirs = _vocabulary(first), _vocabulary(other)
    if not own or not theirs:
        return ""
    differing = (token for token in own if token in theirs and own[token] != theirs[token])
    if (token := next(differing, None)) is not None:
        return f"{show(token)} is token {theirs[token]}, not {own[token]}"
    alone = [token for token in {**own, **theirs} if (token in own) != (token in theirs)]
    return f"only one of them has {show(alone[0])}" if alone else ""


def _vocabulary(folders: Sequence[Path]) -> dict[str, int]:
    for folder in reversed(folders):
        try:
            content = json.loads(read_regular(folder / "tokenizer.json"))
            vocabulary = content["model"]["vocab"]
            added = {each["content"]: each["id"] for each in content["added_tokens"]}
            known = (
                vocabulary if isinstance(vocabulary, dict) else {t[0]: i for i, t in enumerate(vocabulary)}
            )
            return {**known, **added}
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
    return {}
