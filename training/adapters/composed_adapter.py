# SPDX-License-Identifier: Apache-2.0
"""Save an adapter together with the frozen products of its layers, as a single adapter of the original base model.

Those products are an adapter that training started from, or what PiSSA and OLoRA subtract. The factors of a layer's two
products are concatenated: ``s2 (B1 B2) (s1/s2 A1; A2) = s1 B1 A1 + s2 B2 A2``. The result is exact, has rank
``r1 + r2``, and loads in any peft. The new adapter's factors are stored unchanged, so splitting it again gives the same
bits and a run resumes exactly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tadrib.training.adapters.factor import ADAPTER, adapted
from tadrib.training.adapters.initial_product import initial_factors, restore_initial_factors
from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.adapter_folder import WEIGHTS_FILE
from tadrib.training.model.source import ADAPTER_FILE
from tadrib.training.model.starting_adapter import Factors, start_factors

State = dict[str, Tensor]
_DOWN, _UP = "base_model.model.{}.lora_A.weight", "base_model.model.{}.lora_B.weight"


@dataclass(frozen=True, slots=True)
class _Join:
    """How trained and frozen products of a model are put together: the ``frozen`` ones, and of each layer with an
    adapter the ``ranks`` and ``scales``; ``scale`` is that of layers without one, ``width`` the rank of all."""

    frozen: dict[str, Factors]
    ranks: dict[str, int]
    scales: dict[str, float]
    scale: float
    width: int

    @classmethod
    def of(cls, model: PeftModel) -> _Join:
        frozen = _stacked(start_factors(model), initial_factors(model))
        ranks = {name: layer.r[ADAPTER] for name, layer in adapted(model)}
        scales = {name: layer.scaling[ADAPTER] for name, layer in adapted(model)}
        config = model.peft_config[ADAPTER]
        scale = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
        rows = {name: len(each.down) for name, each in frozen.items()}
        width = max((rows.get(name, 0) + ranks.get(name, 0) for name in {*rows, *ranks}), default=0)
        return cls(frozen, ranks, scales, scale, width)

    def joined(self, new: State) -> State:
        """All products as one float32 state dict. The frozen factors come first and those of ``new`` last, padded with
        zeros in between. So all layers have the same rank, which some servers require. Other weights stay."""
        if not self.frozen:
            return new
        state = {name: tensor for name, tensor in new.items() if not _is_factor(name)}
        for layer in {*self.frozen, *self.ranks}:
            down, up = _DOWN.format(layer), _UP.format(layer)
            start, rank = self.frozen.get(layer), self.ranks.get(layer, 0)
            some_down, some_up = (start.down, start.up) if start is not None else (new[down], new[up])
            width = self.width
            state[down], state[up] = torch.zeros(width, some_down.shape[1]), torch.zeros(len(some_up), width)
            if start is not None:
                state[down][: len(start.down)] = start.down * (
                    start.scale / self.scales.get(layer, self.scale)
                )
                state[up][:, : len(start.down)] = start.up
            if rank:
                state[down][width - rank :] = new[down].detach()
                state[up][:, width - rank :] = new[up].detach()
        return state

    def split(self, name: str, joined: Tensor) -> tuple[Tensor, Tensor]:
        """Split a tensor made by `joined` into the frozen product's part and the adapter's."""
        if not self.frozen or not _is_factor(name):
            return joined[:0], joined
        dim, rank = 0 if ".lora_A." in name else 1, self.ranks.get(_layer(name), 0)
        start, own = joined.split([joined.shape[dim] - rank, rank], dim)
        return start, own

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """What changes in adapter_config.json."""
        alphas = {
            name: _whole(scale * self.width) for name, scale in self.scales.items() if scale != self.scale
        }
        return {
            "r": self.width,
            "lora_alpha": _whole(self.scale * self.width),
            "rank_pattern": {},
            "alpha_pattern": alphas,
            "use_rslora": False,
            "target_modules": _targets(model, {*self.frozen, *self.ranks}),
        }


def complete(model: nn.Module, folder: Path) -> None:
    """Add the frozen products of ``model`` to the adapter that peft saved in ``folder``. Does nothing if there are
    none."""
    if not isinstance(model, PeftModel) or not (folder / ADAPTER_FILE).is_file():
        return
    join = _Join.of(model)
    if not join.frozen:
        return
    settings = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))
    save_file(join.joined(load_file(folder / WEIGHTS_FILE)), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    text = json.dumps(settings | join.settings(model), indent=2, sort_keys=True)
    (folder / ADAPTER_FILE).write_text(text, encoding="utf-8")


def load_trained(model: PeftModel, folder: Path) -> None:
    """Load the trained adapter from the checkpoint ``folder`` into ``model``.

    Raises SpecError if it belongs to another model or starting adapter.
    """
    try:
        state = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise _foreign(folder, f"{WEIGHTS_FILE}: {error}") from error
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    join = _Join.of(model)
    expected = join.joined(own)
    odd = {name for name in {*expected, *state} if name not in state or name not in expected}
    odd |= {name for name in state if name not in odd and state[name].shape != expected[name].shape}
    if odd:
        raise _foreign(folder, f"its adapter has other layers or ranks, {min(odd)} for one")
    parts = {name: join.split(name, tensor) for name, tensor in state.items()}
    starts = {layer: len(each.down) for layer, each in start_factors(model).items()}
    initial: dict[str, dict[str, Tensor]] = {}
    for name, (frozen, _) in parts.items():
        if _is_factor(name):
            rows, layer, kind = starts.get(_layer(name), 0), _layer(name), name.rsplit(".", 2)[1]
            due = join.split(name, expected[name])[0]
            if not torch.equal(_cut(frozen, kind, rows)[0], _cut(due, kind, rows)[0]):
                raise _foreign(folder, "it was trained on another adapter")
            initial.setdefault(layer, {})[kind] = _cut(frozen, kind, rows)[1]
    restore_initial_factors(model, initial)
    set_peft_model_state_dict(model, {name: parts[name][1] for name in own})


def _stacked(start: dict[str, Factors], initial: dict[str, Factors]) -> dict[str, Factors]:
    """The frozen products of each layer as one."""
    both = {
        layer: Factors(
            torch.cat([start[layer].down * (start[layer].scale / each.scale), each.down]),
            torch.cat([start[layer].up, each.up], dim=1),
            each.scale,
        )
        for layer, each in initial.items()
        if layer in start
    }
    return start | initial | both


def _cut(factor: Tensor, kind: str, rows: int) -> tuple[Tensor, Tensor]:
    """``factor`` of ``kind`` lora_A or lora_B in two, after the first ``rows`` of its rank."""
    dim = 0 if kind == "lora_A" else 1
    first, rest = factor.split([rows, factor.shape[dim] - rows], dim)
    return first, rest


def _is_factor(name: str) -> bool:
    return name.endswith((".lora_A.weight", ".lora_B.weight"))


def _targets(model: nn.Module, layers: set[str]) -> list[str]:
    """The last components of the layers' names if they select exactly these layers; otherwise full names."""
    ends = {layer.rpartition(".")[2] for layer in layers}
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    meant = {name for name, _ in base.named_modules() if name.rpartition(".")[2] in ends}
    return sorted(ends if meant == layers else layers)


def _layer(name: str) -> str:
    return name.removeprefix("base_model.model.").partition(".lora_")[0]


def _whole(alpha: float) -> int | float:
    return int(alpha) if alpha == int(alpha) else alpha


def _foreign(folder: Path, reason: str) -> SpecError:
    action = (
        "Resume with the model_name and lora_* settings that the checkpoint was trained with, or start over."
    )
    return SpecError("the checkpoint cannot be resumed", [Problem(str(folder), f"{reason}.", action)])
