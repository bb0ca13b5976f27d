# SPDX-License-Identifier: Apache-2.0
"""The sizes of a decoder's layers, read from config.json without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tadrib.training.config import CommonConfig
from tadrib.training.config.types import ALL_LINEAR
from tadrib.training.errors import Problem, SpecError, named
from tadrib.training.files.regular_file import read_regular

_BIASED = ("qwen2",)
_HEAD_NORMS = ("qwen3",)
KINDS = ("llama", "mistral", *_BIASED, *_HEAD_NORMS)
"""``model_type`` of the families whose weights `Shape.parameters` counts exactly."""


@dataclass(frozen=True, slots=True)
class Shape:
    """``linear`` has input and output size of each linear layer in a block, ``extra`` the block's other weights: norms
    and biases. ``tied`` says that embedding and head are one matrix."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    inner: int
    tied: bool
    linear: Mapping[str, tuple[int, int]]
    extra: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Shape:
        """From config.json. Raises KeyError for a size that it lacks."""
        hidden, heads = settings["hidden_size"], settings["num_attention_heads"]
        keys = settings.get("num_key_value_heads") or heads
        size, inner = settings.get("head_dim") or hidden // heads, settings["intermediate_size"]
        kind = settings["model_type"]
        linear = {
            "q_proj": (hidden, heads * size),
            "k_proj": (hidden, keys * size),
            "v_proj": (hidden, keys * size),
            "o_proj": (heads * size, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }
        biases = (heads + 2 * keys) * size if kind in _BIASED or settings.get("attention_bias") else 0
        extra = 2 * hidden + biases + (2 * size if kind in _HEAD_NORMS else 0)
        return cls(
            settings["vocab_size"],
            hidden,
            settings["num_hidden_layers"],
            heads,
            keys,
            size,
            inner,
            settings.get("tie_word_embeddings", False),
            linear,
            extra,
        )

    @property
    def in_blocks(self) -> int:
        """Weights of all linear layers in blocks, which quantization makes smaller."""
        return self.layers * sum(rows * columns for rows, columns in self.linear.values())

    @property
    def parameters(self) -> int:
        matrices = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return matrices + self.in_blocks + self.layers * self.extra + self.hidden

    def adapted(self, config: CommonConfig) -> dict[str, tuple[int, int]]:
        """The layers of a block that get an adapter; of a regular expression, all whose name it contains."""
        written = config.lora_target_modules
        if written == ALL_LINEAR:
            return dict(self.linear)
        if isinstance(written, str):
            return {name: size for name, size in self.linear.items() if name in written} or dict(self.linear)
        ends = {name.rpartition(".")[2] for name in written}
        return {name: size for name, size in self.linear.items() if name in ends}

    def adapters(self, config: CommonConfig) -> int:
        """Weights of the adapters: ``rank * (in + out)`` of each layer."""
        ranks = {name: config.rank_pattern.get(name, config.lora_r) for name in self.linear}
        each = (ranks[name] * (rows + columns) for name, (rows, columns) in self.adapted(config).items())
        return self.layers * sum(each)


def read_shape(config: CommonConfig) -> Shape:
    """The shape of ``model_name``, or of the base model of an adapter. Raises SpecError where it is not known."""
    path = _config_file(config.model_name, config.model_revision)
    try:
        settings = json.loads(read_regular(path))
        shape = Shape.of(settings)
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(f"{path}: {error}.", "Copy the model's folder again.") from error
    except (KeyError, TypeError) as error:
        raise _refused(f"{path} has no usable {error}.", _SUPPORTED) from error
    if settings["model_type"] not in KINDS:
        raise _refused(f"{config.model_name} is of type {settings['model_type']}.", _SUPPORTED)
    return shape


def _config_file(name: str, revision: str | None) -> Path:
    folder = Path(name)
    if not folder.is_dir():
        try:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.utils import logging

            logging.set_verbosity_error()  # it reports every retry
            return Path(hf_hub_download(name, "config.json", revision=revision))
        except Exception as error:  # not installed, no network, no such model: all mean the same here
            reason = " ".join(str(error).split())[:200]
            action = "Give the folder of the model; config.json is all that a plan reads."
            raise _refused(
                f"{name} is no folder here, and the Hub did not give it: {reason}.", action
            ) from error
    adapter = folder / "adapter_config.json"
    if adapter.is_file() and not (folder / "config.json").is_file():
        return _config_file(str(json.loads(read_regular(adapter))["base_model_name_or_path"]), revision)
    return folder / "config.json"


_SUPPORTED = f"A plan counts the weights of {named(KINDS)}."


def _refused(message: str, action: str) -> SpecError:
    return SpecError("no plan can be made", [Problem("model_name", message, action)])
