# SPDX-License-Identifier: Apache-2.0
"""Merge LoRA adapters of one base model into one adapter.

``cat`` is exact: ``sum w_i s_i B_i A_i`` is the product of the concatenated factors, of rank ``sum r_i``. ``svd`` is
the closest product of a given rank (Eckart and Young 1936). PEFT's ``linear``, which merges the factors A and B
separately, is neither.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.adapter_folder import WEIGHTS_FILE, AdapterFolder, adapter_of
from tadrib.training.model.merger import TITLE
from tadrib.training.model.merger.adapter_tensors import AdapterTensors, LowRankChange, read_adapter
from tadrib.training.model.merger.opened_model import source_of
from tadrib.training.model.merger.recipe import MergeRecipe
from tadrib.training.model.source import ADAPTER_FILE

Factors = tuple[Tensor, Tensor]
"""``down`` [r, in] and ``up`` [out, r] of a product ``up @ down``."""
_NAME = "base_model.model.{}.lora_{}.weight"
_SELECTION = ("layers_to_transform", "layers_pattern", "exclude_modules")
_OF_RANKS = {"rank_pattern": {}, "alpha_pattern": {}, "use_rslora": False, "init_lora_weights": True}


def merge_adapters(recipe: MergeRecipe, target: Path) -> tuple[list[AdapterFolder], float]:
    """Write the merged adapter to the folder ``target``; returns the adapters and the share of ``|sum|^2`` that it has.

    Raises SpecError if they are not plain LoRA on linear layers of one base model.
    """
    adapters = _opened(recipe)
    tensors = [_plain(adapter) for adapter in adapters]
    state: dict[str, Factors] = {}
    kept = total = 0.0
    for name in sorted({name for each in tensors for name in each.low_rank}):
        weights = recipe.each("weight", name, 0.0)
        parts = [
            (w, each.low_rank[name])
            for w, each in zip(weights, tensors, strict=True)
            if name in each.low_rank
        ]
        factors = concatenated(parts)
        if recipe.merge_method == "svd":
            factors, shares = truncated(factors, int(recipe.shared("rank", name, 0.0)))
            kept, total = kept + shares[0], total + shares[1]
        state[name.removesuffix(".weight")] = factors
    _write(state, adapters, target)
    return adapters, kept / total if total else 1.0


def concatenated(parts: Sequence[tuple[float, LowRankChange]]) -> Factors:
    """The factors of ``sum w_i s_i B_i A_i``."""
    down = torch.cat([change.down for _, change in parts])
    return down, torch.cat([weight * change.scale * change.up for weight, change in parts], dim=1)


def truncated(factors: Factors, rank: int) -> tuple[Factors, tuple[float, float]]:
    """The closest product of at most ``rank``, and the squared norms of it and of the whole, without ever forming it:
    with ``up = Q R`` and ``down^T = P S``, the singular values of ``up down`` are those of ``R S^T``."""
    down, up = (factor.double() for factor in factors)
    q, r = torch.linalg.qr(up)
    p, s = torch.linalg.qr(down.T)
    left, values, right = torch.linalg.svd(r @ s.T, full_matrices=False)
    root = values[:rank].sqrt()
    closest = (root[:, None] * (right[:rank] @ p.T), (q @ left[:, :rank]) * root)
    shares = (float(values[:rank].square().sum()), float(values.square().sum()))
    return (closest[0].float(), closest[1].float()), shares


def _opened(recipe: MergeRecipe) -> list[AdapterFolder]:
    found: list[AdapterFolder] = []
    for number, entry in enumerate(recipe.entries):
        key = f"models.{number}.model"
        adapter = adapter_of(source_of(entry.model, key))
        if adapter is None:
            message = f"{entry.model} is no adapter, which {recipe.merge_method} merges."
            raise SpecError(TITLE, [Problem(key, message, "Use linear or ties for full models.")])
        found.append(adapter.on(found[0].base) if found else adapter)
    return found


def _plain(adapter: AdapterFolder) -> AdapterTensors:
    tensors = read_adapter(adapter)
    odd = sorted({*tensors.replaced, *tensors.tokens, *tensors.biases})
    odd += [
        name
        for name, change in tensors.low_rank.items()
        if change.magnitude is not None or change.is_embedding
    ]
    if odd:
        message = (
            f"the adapter {adapter.source.name} changes {odd[0]} by more than a product of two matrices."
        )
        raise SpecError(
            TITLE, [Problem(adapter.source.key, message, "Merge it as a model, with linear or ties.")]
        )
    return tensors


def _write(state: dict[str, Factors], adapters: Sequence[AdapterFolder], target: Path) -> None:
    """All layers get the same rank, padded with zeros, which some servers require; their scale is 1."""
    rank = max(len(down) for down, _ in state.values())
    tensors = {}
    for layer, (down, up) in state.items():
        wider = (0, rank - len(down))
        tensors[_NAME.format(layer, "A")] = torch.nn.functional.pad(down, (0, 0, *wider))
        tensors[_NAME.format(layer, "B")] = torch.nn.functional.pad(up, wider)
    save_file(tensors, target / WEIGHTS_FILE, metadata={"format": "pt"})
    settings = adapters[0].settings | _OF_RANKS | {"r": rank, "lora_alpha": rank, "lora_dropout": 0.0}
    settings["target_modules"] = _targets(adapters, state)
    settings |= dict.fromkeys(_SELECTION)
    settings["base_model_name_or_path"] = adapters[0].base.name
    (target / ADAPTER_FILE).write_text(
        json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def _targets(adapters: Sequence[AdapterFolder], state: dict[str, Factors]) -> list[str]:
    """The adapters' own lists together if nothing else selects layers; otherwise full names."""
    given = [adapter.settings.get("target_modules") for adapter in adapters]
    lists = [each for each in given if isinstance(each, list)]
    if len(lists) < len(given) or any(
        adapter.settings.get(key) for adapter in adapters for key in _SELECTION
    ):
        return sorted(state)
    return sorted({name for each in lists for name in each})
