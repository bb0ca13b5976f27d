# SPDX-License-Identifier: Apache-2.0
"""Open what a merge is given: a model, an adapter on its base model, a run, or ``base+adapter``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tadrib.training.errors import Problem, SpecError
from tadrib.training.files.regular_file import read_regular
from tadrib.training.model.adapter_folder import AdapterFolder, adapter_of
from tadrib.training.model.merger import TITLE
from tadrib.training.model.merger.adapter_tensors import read_adapter
from tadrib.training.model.merger.folded_weights import FoldedWeights
from tadrib.training.model.source import ADAPTER_FILE, CONFIG_FILE, ModelSource, locate, unloadable
from tadrib.training.model.weight_files.source_weights import FolderWeights, Weights
from tadrib.training.run.names import FINAL


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """Weights with what belongs to them: ``config`` (config.json), whether the head is the embedding (``is_tied``), the
    ``folders`` whose other files a merge carries, of which later ones count, and the ``adapter`` that was folded in."""

    title: str
    weights: Weights
    config: dict[str, Any]
    is_tied: bool
    folders: tuple[Path, ...]
    adapter: AdapterFolder | None = None


Rebase = Callable[[Weights], Weights]
"""Puts other weights in the place of a base model's, such as dequantized ones."""


def open_model(written: str, key: str = "model", rebase: Rebase | None = None) -> OpenedModel:
    """Open ``written``, named under ``key`` in messages. ``rebase`` replaces an adapter's base weights.

    Raises SpecError if it cannot be found, read or folded.
    """
    source, on = _parsed(written, key)
    adapter = adapter_of(source)
    if adapter is None:
        if on is not None:
            message = f"{source.name}, after the +, is no adapter."
            raise SpecError(TITLE, [Problem(key, message, "Write base+adapter.")])
        return _full(source)
    if on is not None:
        adapter = adapter.on(on)
    base = _full(adapter.base)
    weights = base.weights if rebase is None else rebase(base.weights)
    folded = FoldedWeights(weights, read_adapter(adapter), source.name, is_tied=base.is_tied)
    folders = (*base.folders, adapter.path)
    return OpenedModel(source.name, folded, base.config, folded.is_tied, folders, adapter)


def folder_of(source: ModelSource) -> Path:
    """The model's folder, downloaded if it has a Hub name. Raises SpecError if there is none."""
    locate(source)
    if source.folder is not None:
        return source.folder
    from huggingface_hub import snapshot_download

    try:
        kept_out = ["*.bin", "*.pt", "*.pth", "*.gguf"]
        return Path(snapshot_download(source.name, revision=source.revision, ignore_patterns=kept_out))
    except (OSError, ValueError) as error:
        raise unloadable(source, error) from error


def is_tied(config: dict[str, Any]) -> bool:
    """Whether config.json says that head and embedding share a tensor; each architecture has its own default."""
    written = config.get("tie_word_embeddings", (config.get("text_config") or {}).get("tie_word_embeddings"))
    if written is not None:
        return bool(written)
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING.get(config.get("model_type"), None)
    return bool(getattr(kind() if kind else None, "tie_word_embeddings", False))


def _parsed(written: str, key: str) -> tuple[ModelSource, ModelSource | None]:
    """The source that ``written`` means, and the base model if it names one."""
    base, plus, adapter = written.partition("+")
    if plus and not Path(written).exists():
        return source_of(adapter, key), source_of(base, key)
    return source_of(written, key), None


def source_of(written: str, key: str) -> ModelSource:
    """A folder, the final weights of a run directory, or a Hub name with ``@revision`` if one is given."""
    name, at, revision = written.partition("@")
    if at and not Path(written).exists():
        return ModelSource(key, name, revision)
    final = Path(written) / FINAL
    if not (Path(written) / CONFIG_FILE).is_file() and any(
        (final / file).is_file() for file in (CONFIG_FILE, ADAPTER_FILE)
    ):
        return ModelSource(key, str(final))
    return ModelSource(key, written)


def _full(source: ModelSource) -> OpenedModel:
    folder = folder_of(source)
    try:
        config = json.loads(read_regular(folder / CONFIG_FILE))
        if not isinstance(config, dict):
            raise ValueError("it is not a mapping")
    except (OSError, ValueError, RecursionError) as error:
        raise unloadable(source, error, f"{CONFIG_FILE}: ") from error
    if "quantization_config" in config:
        message = f"{source.name} holds quantized weights, which are not merged."
        action = "Give the model that they were quantized from."
        raise SpecError(TITLE, [Problem(source.key, message, action)])
    weights = FolderWeights(folder, source.name)
    return OpenedModel(source.name, weights, config, is_tied(config), (folder,))
