# SPDX-License-Identifier: Apache-2.0
"""A description of what training starts from, for the result and the user."""

from __future__ import annotations

from pathlib import Path

from tadrib.training.config import CommonConfig
from tadrib.training.errors import SpecError
from tadrib.training.model.adapter_folder import adapter_of
from tadrib.training.model.source import ADAPTER_FILE, ModelSource


def starting_point(config: CommonConfig) -> str:
    """``model_name``, and the base model if it is an adapter. Makes no network requests."""
    source = ModelSource.start(config)
    if source.folder is None and not _is_adapter_in_cache(source):
        return source.name
    try:
        adapter = adapter_of(source)
        return source.name if adapter is None else f"{source.name}, an adapter of {adapter.base.name}"
    except SpecError:  # which training itself reports
        return source.name


def _is_adapter_in_cache(source: ModelSource) -> bool:
    """Whether the Hub name is an adapter that is in the local cache."""
    if source.is_surely_a_folder:
        return False
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source.name, ADAPTER_FILE, revision=source.revision)
    except HFValidationError:
        return False
    return isinstance(found, str) and Path(found).is_file()
