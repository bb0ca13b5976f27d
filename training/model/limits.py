# SPDX-License-Identifier: Apache-2.0
"""Check rows against the limits in a model's config.json (context length, vocabulary) before the model is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import AutoConfig
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from tadrib.training.config import CommonConfig
from tadrib.training.data.extent import Extent
from tadrib.training.data.lengths import Limits
from tadrib.training.data.report.check import DataReport
from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.adapter_folder import base_of
from tadrib.training.model.source import ModelSource, locate, unloadable


def require_rows_fit(
    config: CommonConfig, method: str, needed: Extent, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Check that prepared rows of the extent ``needed`` fit the trained model and the reference model.

    The model has never seen a position beyond ``max_position_embeddings``, or has no embedding for it; RoPE scaling
    lifts that limit. A token id beyond ``vocab_size`` has no embedding.

    Raises SpecError with every problem, or if a config.json cannot be read.
    """
    sources = [ModelSource.start(config), ModelSource.reference(config)]
    limits = Limits.of(config, method)
    problems = [
        problem
        for source in sources
        if source is not None
        for problem in _problems(source, needed, limits, tokenizer)
    ]
    if problems:
        raise SpecError("the rows do not fit the model", problems)


def report_problems(
    config: CommonConfig, method: str, report: DataReport, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Problem]:
    """What of the rows in ``report`` exceeds the limits of the model that training starts from; nothing if its
    config.json is not to be had."""
    source, limits = ModelSource.start(config), Limits.of(config, method)
    try:
        model = _config_of(source)
    except SpecError:
        return
    context, rows = getattr(model, "max_position_embeddings", None), getattr(model, "vocab_size", None)
    longest, prompt = report.lengths["total"].max, report.lengths["prompt"].max
    if config.truncation != "error":
        longest = min(longest, limits.total)
    if context is not None and max(longest, prompt) > context and not _is_scaled(model):
        alone = f", and the longest prompt alone {prompt:,}" if prompt > context else ""
        yield Problem(
            limits.total_key,
            f"{limits.total}; the longest row has {longest:,} tokens{alone}, but {source.name} has a context of"
            f" {context:,} (max_position_embeddings in its config.json, without RoPE scaling).",
            f"Set {limits.total_key}: {context}, with truncation: truncate or drop; or use a model with a longer one.",
        )
    if rows is not None and (report.largest_id or 0) >= rows:
        yield _beyond_embedding(source, rows, report.largest_id or 0, tokenizer)


def _beyond_embedding(
    source: ModelSource, rows: int, largest: int, tokenizer: PreTrainedTokenizerBase
) -> Problem:
    return Problem(
        source.key,
        f"{source.name} has embeddings for {rows:,} tokens (vocab_size in its config.json), but the tokenizer"
        f" produces token id {largest:,} ({tokenizer.convert_ids_to_tokens(largest)}).",
        f"Use the tokenizer that belongs to the model, or resize its embedding to {len(tokenizer):,} tokens"
        " (resize_token_embeddings) and save it.",
    )


def _problems(
    source: ModelSource, needed: Extent, limits: Limits, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Problem]:
    model = _config_of(source)
    context, rows = getattr(model, "max_position_embeddings", None), getattr(model, "vocab_size", None)
    if context is not None and needed.longest > context and not _is_scaled(model):
        yield Problem(
            limits.total_key,
            f"{limits.total}, and row {needed.row + 1} has {needed.longest:,} tokens, but {source.name}"
            f" ({source.key}) has a context of {context:,} (max_position_embeddings in its config.json, without RoPE"
            " scaling).",
            f"Set {limits.total_key}: {context}, with truncation: truncate to cut longer rows or truncation: drop to"
            " leave them out; or use a model with a longer context.",
        )
    largest = max(needed.largest_id, tokenizer.pad_token_id or 0)
    if rows is not None and largest >= rows:
        yield _beyond_embedding(source, rows, largest, tokenizer)


def _config_of(source: ModelSource) -> Any:
    locate(source)
    whole = base_of(source)
    try:
        return AutoConfig.from_pretrained(locate(whole), **whole.options).get_text_config()
    except Exception as error:  # every configuration class raises its own errors
        raise unloadable(source, error) from error


def _is_scaled(model: Any) -> bool:
    """Whether RoPE is scaled; some models have separate settings for each kind of layer."""
    given = getattr(model, "rope_parameters", None) or getattr(model, "rope_scaling", None) or {}
    each = [given, *(inner for inner in given.values() if isinstance(inner, dict))]
    return any(rope.get("rope_type", rope.get("type", "default")) != "default" for rope in each)
