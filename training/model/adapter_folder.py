# SPDX-License-Identifier: Apache-2.0
"""Adapter folders as peft writes them, and the base model that an adapter belongs to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, SpecError
from tadrib.training.files.moved_folder import find_moved
from tadrib.training.files.regular_file import read_regular
from tadrib.training.model.fingerprint import model_fingerprint
from tadrib.training.model.source import ADAPTER_FILE, CONFIG_FILE, TITLE, ModelSource, locate
from tadrib.training.notices import warn

WEIGHTS_FILE = "adapter_model.safetensors"
MERGE_IT = "Or merge it with `tadrib merge`, and start from that."
RESHAPING = (
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
"""Settings of peft whose adapter is no sum onto the weights of its layers, so that nothing here can merge it."""
_SPECIAL = ("use_dora", "modules_to_save", "trainable_token_indices", "lora_bias", *RESHAPING)
"""Settings of peft that make an adapter more than plain LoRA: a product of two matrices on a linear layer."""


@dataclass(frozen=True)
class AdapterFolder:
    """The adapter that ``source`` refers to, in the folder ``path``. ``settings`` is its adapter_config.json, and
    ``given_base`` replaces the base model named there."""

    source: ModelSource
    path: Path
    settings: dict[str, Any]
    given_base: ModelSource | None = None

    @cached_property
    def base(self) -> ModelSource:
        """The base model: where the adapter says, or at the same relative place next to an adapter that has moved.

        Raises SpecError if it is not found, or is an adapter itself.
        """
        if self.given_base is not None:
            return self.given_base
        written = self.settings.get("base_model_name_or_path")
        action = f"Set base_model_name_or_path in {self.path / ADAPTER_FILE} to the folder or Hub name of its base."
        if not isinstance(written, str) or not written:
            raise self._refusal("names no base model.", action)
        base = ModelSource(
            self.source.key,
            find_moved(written, self.path, CONFIG_FILE),
            self.settings.get("revision"),
            self.source.trust_remote_code,
        )
        if base.is_surely_a_folder and base.folder is None:
            raise self._refusal(f"belongs to the base model {written}, which does not exist.", action)
        if base.folder is not None and (base.folder / ADAPTER_FILE).is_file():
            merging = f"Merge it first, with `tadrib merge {written}`."
            raise self._refusal(f"belongs to {written}, which is an adapter too.", merging)
        return base

    def on(self, base: ModelSource) -> AdapterFolder:
        """The same adapter on ``base``. Raises SpecError if it belongs to another model."""
        written = self.settings.get("base_model_name_or_path")
        if written != base.name and not self._is_base(base):
            action = f"Set model_name: {written}, or load an adapter of {base.name}."
            raise self._refusal(f"belongs to the base model {written}, not to {base.name}.", action)
        return replace(self, given_base=base)

    def _is_base(self, other: ModelSource) -> bool:
        """Whether ``other`` is the base model, under whatever path. A Hub name and a folder can only be compared by the
        last part of the name."""
        try:
            own = self.base
        except SpecError:
            warn(f"the base model of {self.source.name} no longer exists; using {other.name} instead.")
            return True
        if own.folder is None or other.folder is None:
            return Path(own.name).name == Path(other.name).name
        return own.folder.samefile(other.folder) or model_fingerprint(own.folder) == model_fingerprint(
            other.folder
        )

    def require_plain(self, odd_layers: Sequence[str] = ()) -> None:
        """Raise SpecError if this is more than plain LoRA on linear layers, or adapts ``odd_layers``.

        No new adapter can be trained on top of that.
        """
        reasons = [*self._special(), *(f"adapts {layer}" for layer in odd_layers)]
        if reasons:
            message = f"({', '.join(reasons[:3])}) cannot be kept underneath a new adapter."
            raise self._refusal(
                message, f"Set use_lora: false, which merges it and trains all weights. {MERGE_IT}"
            )

    def require_joinable(self, config: CommonConfig) -> None:
        """Raise SpecError if the new adapter of ``config`` could not be saved as one with this one.

        It has to be plain LoRA, as this one is; modules that are trained whole beside it are no matter.
        """
        for key in ("use_dora", "lora_bias"):
            if getattr(config, key):
                message = f"cannot be joined with a new one of {key}: true into one adapter, which final/ is."
                raise self._refusal(message, f"Remove {key}. {MERGE_IT}")

    @property
    def is_special(self) -> bool:
        """Whether this is more than plain LoRA, by its settings."""
        return bool(self._special())

    def _special(self) -> list[str]:
        found = [f"{key}: {value}" for key in _SPECIAL if (value := self.settings.get(key))]
        for key, plain in (("peft_type", "LORA"), ("bias", "none")):
            if (value := self.settings.get(key, plain)) != plain:
                found.append(f"{key}: {value}")
        return found

    def _refusal(self, message: str, action: str) -> SpecError:
        return SpecError(
            TITLE, [Problem(self.source.key, f"the adapter {self.source.name} {message}", action)]
        )


def adapter_of(source: ModelSource) -> AdapterFolder | None:
    """The adapter that ``source`` refers to, downloaded if necessary; None if it is a full model or does not exist.

    Raises SpecError if its adapter_config.json cannot be read, or it has no safetensors weights.
    """
    folder = source.folder or _downloaded(source)
    if folder is None or not (folder / ADAPTER_FILE).is_file():
        return None
    try:
        settings = json.loads(read_regular(folder / ADAPTER_FILE))
    except (OSError, ValueError, RecursionError) as error:
        problem = Problem(
            source.key, f"{folder / ADAPTER_FILE}: {error}.", "Copy the adapter's folder again."
        )
        raise SpecError(TITLE, [problem]) from error
    if not isinstance(settings, dict) or not (folder / WEIGHTS_FILE).is_file():
        message = f"the adapter {source.name} has no {WEIGHTS_FILE}."
        action = "Save it again with peft's save_pretrained: pickled weights are not loaded."
        raise SpecError(TITLE, [Problem(source.key, message, action)])
    return AdapterFolder(source, folder, settings)


def base_of(source: ModelSource) -> ModelSource:
    """``source``, or the base model if it is an adapter. Raises SpecError like `AdapterFolder.base`."""
    adapter = adapter_of(source)
    return source if adapter is None else adapter.base


def require_models(config: CommonConfig) -> None:
    """Check ``model_name`` and ``ref_model_name`` as far as possible without loading them.

    Raises SpecError with every problem: a missing folder, an adapter without its base, or one that cannot be built on.
    """
    problems: list[Problem] = []
    for source in filter(None, (ModelSource.start(config), ModelSource.reference(config))):
        try:
            locate(source)
            adapter = adapter_of(source)
            if adapter is not None:
                locate(adapter.base)
                if config.use_lora:
                    adapter.require_plain()
                if config.use_lora and source.key == "model_name":
                    adapter.require_joinable(config)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(TITLE, problems)


def _downloaded(source: ModelSource) -> Path | None:
    if source.is_surely_a_folder:
        return None
    from huggingface_hub import snapshot_download
    from transformers.utils.peft_utils import find_adapter_config_file

    try:
        if find_adapter_config_file(source.name, revision=source.revision) is None:
            return None
        return Path(
            snapshot_download(source.name, revision=source.revision, ignore_patterns=["*.bin", "*.pt"])
        )
    except (OSError, ValueError):  # loading it as a model reports what is wrong
        return None
