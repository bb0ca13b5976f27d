# SPDX-License-Identifier: Apache-2.0
"""The tensors of a LoRA adapter folder, by the weights of the base model that they change.

PEFT 0.21.2's file has ``base_model.model.`` before each name; ``lora_A``, ``lora_B`` (linear layers),
``lora_embedding_A``, ``lora_embedding_B`` and ``lora_magnitude_vector`` (DoRA) after a layer's; and whole tensors of
``modules_to_save`` and of biases. https://github.com/huggingface/peft/blob/v0.21.2/src/peft/utils/save_and_load.py
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from tadrib.training.errors import Problem, SpecError, named
from tadrib.training.model.adapter_folder import RESHAPING, WEIGHTS_FILE, AdapterFolder
from tadrib.training.model.merger import TITLE
from tadrib.training.model.weight_files.tensor_file import Entry, read_entries

_PREFIX = "base_model.model."
_PARTS = re.compile(
    r"(?P<layer>.+)\.(?:lora_(?:embedding_)?(?P<factor>[AB])|(?P<magnitude>lora_magnitude_vector))(?:\.(?P<kind>weight|bias))?"
)
_TOKENS = ".token_adapter.trainable_tokens_delta"
_CHANGING_BASE = ("pissa", "olora", "corda", "loftq")
"""Initializations that also change the base model's weights, which the adapter's file does not have."""
_ACTION = "Serve the adapter, or merge it with peft's merge_and_unload."


@dataclass(frozen=True, slots=True)
class LowRankChange:
    """A layer's ``scale * up @ down``: ``down`` [r, in], ``up`` [out, r], float32; DoRA's ``magnitude`` [out].

    ``is_transposed`` says that the weight is [in, out], as of GPT-2's Conv1D and of an embedding (``is_embedding``).
    """

    down: Tensor
    up: Tensor
    scale: float
    is_transposed: bool
    magnitude: Tensor | None = None
    is_embedding: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        shape = (self.up.shape[0], self.down.shape[1])
        return shape[::-1] if self.is_transposed else shape

    def rows(self, first: int, end: int) -> Tensor:
        """Rows of what is added to the weight."""
        if self.is_transposed:
            return self.scale * (self.down[:, first:end].T @ self.up.T)
        return self.scale * (self.up[first:end] @ self.down)


@dataclass(frozen=True, slots=True)
class AdapterTensors:
    """What an adapter changes, by name of the base model's weight: ``low_rank`` products, whole tensors it
    ``replaced``, single rows of the embedding (``tokens``), and what is added to biases (``biases``)."""

    low_rank: dict[str, LowRankChange]
    replaced: dict[str, Entry]
    tokens: dict[str, tuple[list[int], Tensor]]
    biases: dict[str, Tensor]
    ties_head: bool = False
    """PEFT's ``ensure_weight_tying``: a tied head has what the embedding has."""

    @property
    def changed(self) -> set[str]:
        return {*self.low_rank, *self.replaced, *self.tokens, *self.biases}

    def keeps_tied(self, embedding: str, head: str) -> bool:
        """Whether a head that shares the ``embedding`` of the base model still does with this adapter.

        PEFT leaves the head at the base model's embedding while it trains that, except for single tokens.
        """
        if self.ties_head or not (self.low_rank.keys() | self.replaced.keys()) & {embedding, head}:
            return True
        pair = (self.replaced.get(embedding), self.replaced.get(head))
        if {embedding, head} & self.low_rank.keys() or pair[0] is None or pair[1] is None:
            return False
        return pair[0].equals(pair[1])


def read_adapter(adapter: AdapterFolder) -> AdapterTensors:
    """Raises SpecError if the adapter cannot be folded, its file is damaged, or its ranks are not those of its
    settings."""
    settings, title = adapter.settings, adapter.source.name
    if odd := list(_unfoldable(settings)):
        message = (
            f"the adapter {title} has {named(odd)}, which is no fixed change of the base model's weights."
        )
        raise SpecError(TITLE, [Problem(title, message, _ACTION)])
    try:
        entries = read_entries(adapter.path / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        message = f"{adapter.path / WEIGHTS_FILE}: {error}."
        raise SpecError(TITLE, [Problem(title, message, "Copy the adapter's folder again.")]) from error
    return _sorted_out({_plain(name): entry for name, entry in entries.items()}, settings, title)


def _sorted_out(entries: Mapping[str, Entry], settings: Mapping[str, Any], title: str) -> AdapterTensors:
    layers: dict[str, dict[str, Entry]] = {}
    found = AdapterTensors({}, {}, {}, {}, bool(settings.get("ensure_weight_tying")))
    for name, entry in entries.items():
        if name.endswith(_TOKENS):
            weight = name.removesuffix(_TOKENS) + ".weight"
            found.tokens[weight] = (_indices(settings, name), _whole(entry, title, name))
        elif match := _PARTS.fullmatch(name):
            part = (
                "magnitude"
                if match["magnitude"]
                else match["factor"] + ("_bias" if match["kind"] == "bias" else "")
            )
            kind = "embedding_" if "lora_embedding_" in name else ""
            layers.setdefault(match["layer"], {})[kind + part] = entry
        else:
            found.replaced[name] = entry
    problems: list[Problem] = []
    for layer, parts in sorted(layers.items()):
        try:
            found.low_rank[f"{layer}.weight"] = change = _change(layer, parts, settings, title)
        except ValueError as error:
            problems.append(Problem(title, f"{layer}: {error}.", "Copy the adapter's folder again."))
            continue
        if "B_bias" in parts:
            found.biases[f"{layer}.bias"] = change.scale * _whole(parts["B_bias"], title, layer)
    if problems:
        raise SpecError(TITLE, problems[:5])
    return found


def _change(layer: str, parts: Mapping[str, Entry], settings: Mapping[str, Any], title: str) -> LowRankChange:
    embedding = "embedding_A" in parts or "embedding_B" in parts
    names = ("embedding_A", "embedding_B") if embedding else ("A", "B")
    if missing := [name for name in names if name not in parts]:
        raise ValueError(f"it has no lora_{missing[0]}")
    down, up = (_whole(parts[name], title, layer) for name in names)
    rank = _of_pattern(settings.get("rank_pattern"), layer, settings.get("r"))
    if down.dim() != 2 or up.dim() != 2:
        raise ValueError("its factors are no matrices, as of a convolution, which is not folded here")
    if (down.shape[0], up.shape[1]) != (rank, rank):
        found = f"lora_A of rank {down.shape[0]} and lora_B of rank {up.shape[1]}"
        raise ValueError(f"it has {found}, but adapter_config.json says {rank}")
    alpha = _of_pattern(settings.get("alpha_pattern"), layer, settings.get("lora_alpha"))
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    magnitude = _whole(parts["magnitude"], title, layer).reshape(-1) if "magnitude" in parts else None
    if bool(settings.get("use_dora")) != (magnitude is not None):
        raise ValueError(
            "use_dora in adapter_config.json and lora_magnitude_vector in its file do not go together"
        )
    transposed = embedding or bool(settings.get("fan_in_fan_out"))
    return LowRankChange(down, up, float(scale), transposed, magnitude, embedding)


def _unfoldable(settings: Mapping[str, Any]) -> Iterator[str]:
    if (kind := settings.get("peft_type", "LORA")) != "LORA":
        yield f"peft_type: {kind}"
    yield from (f"{key}: {value}" for key in RESHAPING if (value := settings.get(key)))
    start = str(settings.get("init_lora_weights", "")).lower()
    if start.startswith(_CHANGING_BASE):
        yield f"init_lora_weights: {start}"


def _of_pattern(patterns: Any, layer: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that matches the end of the layer's name."""
    matching = (key for key in patterns or {} if re.match(rf"(.*\.)?({key})$", layer))
    key = next(matching, None)
    return default if key is None else patterns[key]


def _indices(settings: Mapping[str, Any], name: str) -> list[int]:
    given = settings.get("trainable_token_indices") or []
    if isinstance(given, dict):
        layer = name.removesuffix(_TOKENS)
        return next((ids for key, ids in given.items() if layer.endswith(key)), [])
    return given


def _plain(name: str) -> str:
    return name.removeprefix(_PREFIX).replace(".base_layer.", ".")


def _whole(entry: Entry, title: str, name: str) -> Tensor:
    tensor = entry.rows(0, entry.shape[0]).float()
    if not tensor.isfinite().all():
        message = f"has NaN or infinite values in {name}."
        raise SpecError(TITLE, [Problem(title, message, "Use an earlier checkpoint of it.")])
    return tensor
