# SPDX-License-Identifier: Apache-2.0
"""Limits of a model, from its config.json: rows beyond its context or its embedding are refused before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import AutoConfig
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from tadrib.training.config import CommonConfig
from tadrib.training.data.extent import Extent, extent
from tadrib.training.data.lengths import Limits
from tadrib.training.data.prepare import PreparedData
from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.adapter_folder import base_of
from tadrib.training.model.source import ModelSource, locate, unloadable


def require_room(
    config: CommonConfig, method: str, data: PreparedData, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Compare prepared rows with the model that is trained and the one it is compared with.

    A position beyond ``max_position_embeddings`` is one that the model has never seen, or has no embedding for; rope
    scaling lifts that limit. A token id beyond ``vocab_size`` has no row in the embedding.

    Raises SpecError with every problem, or when a config.json cannot be read.
    """
    parts = [data.train] if data.eval is None else [data.train, data.eval]
    needed = extent(parts)
    sources = [ModelSource.start(config), ModelSource.reference(config)]
    limits = Limits.of(config, method)
    problems = [
        problem
        for source in sources
        if source is not None
        for problem in _problems(source, needed, limits, tokenizer)
    ]
    if problems:
        raise SpecError("the model has no room for the rows", problems)


def _problems(
    source: ModelSource, needed: Extent, limits: Limits, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Problem]:
    model = _config_of(source)
    context, rows = getattr(model, "max_position_embeddings", None), getattr(model, "vocab_size", None)
    if context is not None and needed.longest > context and not _is_scaled(model):
        yield Problem(
            limits.total_key,
            f"{limits.total}, and row {needed.row + 1} has {needed.longest:,} tokens, but {source.name}"
            f" ({source.key}) was made for {context:,} (max_position_embeddings of its config.json, without rope"
            " scaling).",
            f"Set {limits.total_key}: {context}, with truncation: truncate to cut longer rows or truncation: drop to"
            " leave them out; or choose a model with a longer context.",
        )
    largest = max(needed.largest_id, tokenizer.pad_token_id or 0)
    if rows is not None and largest >= rows:
        yield Problem(
            source.key,
            f"{source.name} has an embedding of {rows:,} rows (vocab_size of its config.json), but the tokenizer"
            f" writes token id {largest:,} ({tokenizer.convert_ids_to_tokens(largest)}).",
            f"Use the tokenizer that belongs to the model, or resize its embedding to {len(tokenizer):,} rows"
            " (resize_token_embeddings) and save it.",
        )


def _config_of(source: ModelSource) -> Any:
    locate(source)
    whole = base_of(source)
    try:
        return AutoConfig.from_pretrained(locate(whole), **whole.options).get_text_config()
    except Exception as error:  # each class of configuration has its own ways to refuse one
        raise unloadable(source, error) from error


def _is_scaled(model: Any) -> bool:
    """Whether rotary positions are scaled; some models have settings for each kind of layer."""
    given = getattr(model, "rope_parameters", None) or getattr(model, "rope_scaling", None) or {}
    each = [given, *(inner for inner in given.values() if isinstance(inner, dict))]
    return any(rope.get("rope_type", rope.get("type", "default")) != "default" for rope in each)
