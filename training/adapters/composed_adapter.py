# SPDX-License-Identifier: Apache-2.0
"""Save an adapter that was trained on top of another one as a single adapter of the original base model.

The factors of a layer's two products are concatenated: ``s2 (B1 B2) (s1/s2 A1; A2) = s1 B1 A1 + s2 B2 A2``. The result
is exact, has rank ``r1 + r2``, and loads in any peft. The new adapter's factors are stored unchanged, so splitting it
again gives the same bits and a run resumes exactly.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.adapter_folder import WEIGHTS_FILE
from tadrib.training.model.source import ADAPTER_FILE
from tadrib.training.model.starting_adapter import Factors, start_factors

State = dict[str, Tensor]
_DOWN, _UP = "base_model.model.{}.lora_A.weight", "base_model.model.{}.lora_B.weight"


def complete(model: nn.Module, folder: Path) -> None:
    """Add the starting adapter of ``model`` to the adapter that peft saved in ``folder``. Does nothing if training
    started from a full model."""
    factors = start_factors(model)
    if not factors or not (folder / ADAPTER_FILE).is_file():
        return
    settings = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))
    scale = settings["lora_alpha"] / settings["r"]
    state = _joined(load_file(folder / WEIGHTS_FILE), factors, settings["r"], scale)
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    rank = _width(factors, settings["r"])
    layers = {_layer(name) for name in state}
    settings |= {"r": rank, "lora_alpha": _whole(scale * rank), "target_modules": _targets(model, layers)}
    (folder / ADAPTER_FILE).write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")


def load_trained(model: PeftModel, folder: Path) -> None:
    """Load the trained adapter from the checkpoint ``folder`` into ``model``.

    Raises SpecError if it belongs to another model or starting adapter.
    """
    try:
        state = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise _foreign(folder, f"{WEIGHTS_FILE}: {error}") from error
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    config = model.peft_config["default"]
    expected = _joined(own, start_factors(model), config.r, config.lora_alpha / config.r)
    odd = {name for name in {*expected, *state} if name not in state or name not in expected}
    odd |= {name for name in state if name not in odd and state[name].shape != expected[name].shape}
    if odd:
        raise _foreign(folder, f"its adapter has other layers or ranks, {min(odd)} for one")
    split = {name: _split(name, tensor, config.r) for name, tensor in state.items()}
    if not all(
        torch.equal(start, _split(name, expected[name], config.r)[0]) for name, (start, _) in split.items()
    ):
        raise _foreign(folder, "it was trained on another adapter")
    set_peft_model_state_dict(model, {name: split[name][1] for name in own})


def _joined(new: State, factors: dict[str, Factors], rank: int, scale: float) -> State:
    """The starting adapter and ``new`` (of ``rank``) as one float32 state dict; ``scale`` is that of both.

    The starting adapter's factors come first and those of ``new`` last, padded with zeros in between. So all layers
    have the same rank, which some servers require.
    """
    width, state = _width(factors, rank), {}
    for layer in {*factors, *(_layer(name) for name in new)}:
        down, up = _DOWN.format(layer), _UP.format(layer)
        start = factors.get(layer)
        some_down, some_up = (start.down, start.up) if start is not None else (new[down], new[up])
        state[down], state[up] = torch.zeros(width, some_down.shape[1]), torch.zeros(len(some_up), width)
        if start is not None:
            state[down][: len(start.down)] = start.down * (start.scale / scale)
            state[up][:, : len(start.down)] = start.up
        if down in new:
            state[down][width - rank :] = new[down].detach()
            state[up][:, width - rank :] = new[up].detach()
    return state


def _split(name: str, joined: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Split a tensor made by `_joined` into the starting adapter's part and the new adapter's."""
    dim = 0 if ".lora_A." in name else 1
    start, own = joined.split([joined.shape[dim] - rank, rank], dim)
    return start, own


def _width(factors: dict[str, Factors], rank: int) -> int:
    return max((len(start.down) for start in factors.values()), default=0) + rank


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
