# SPDX-License-Identifier: Apache-2.0
"""Strategy: how workers share one model, and the DeepSpeed settings, as written, that it stands for."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Literal

from tadrib.training.config.credentials import find_credentials
from tadrib.training.config.problems.violations import show
from tadrib.training.config.yaml.text_file import read_bytes
from tadrib.training.errors import Problem, SpecError, clip, nearest

Strategy = Literal["ddp", "zero2", "zero3", "zero3-offload"]
Settings = dict[str, Any]
_MAX_BYTES = 20_000

SECTIONS = ("optimizer", "scheduler")
"""Sections of a DeepSpeed file that are read as keys of the spec, and that DeepSpeed itself is not given."""

PRESETS = Path(__file__).parent.parent / "presets"
"""Folder of the JSON files that the strategies stand for, to read and to copy: ``<strategy>.json``."""


def read_settings(strategy: str, deepspeed: str | None) -> Settings | None:
    """The DeepSpeed settings that a config's ``strategy`` or ``deepspeed`` names; None for DDP.

    ``deepspeed`` is the path of a JSON file, or JSON itself, which starts with a brace: workers on other machines get
    the text and need no file. Where there is no file ``configs/deepspeed_zero2.json``, the preset of that name is read;
    likewise ``zero3`` and ``zero3_offload``. Raises SpecError where there is no such file or it is no JSON mapping, or
    holds a credential.
    """
    if deepspeed is not None and is_json(deepspeed):
        return _parse(deepspeed, "the text")
    if deepspeed is None and strategy == "ddp":
        return None
    preset = strategy if deepspeed is None else preset_behind(deepspeed)
    file = Path(str(deepspeed)) if preset is None else PRESETS / f"{preset}.json"
    try:
        text = read_bytes(file, _MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(_unreadable(file, error)) from error
    return _parse(text, str(file))


def preset_behind(deepspeed: str) -> str | None:
    """The strategy whose preset stands for the file ``configs/deepspeed_<strategy>.json`` where no such file is."""
    name = re.fullmatch(r"(?:\./)?configs/deepspeed_(zero2|zero3|zero3_offload)\.json", deepspeed)
    return name[1].replace("_", "-") if name and not os.path.exists(deepspeed) else None


def as_text(deepspeed: str | None) -> str | None:
    """The settings that ``deepspeed`` names, as JSON text, which is the same whatever becomes of the file."""
    return None if deepspeed is None else json.dumps(read_settings("ddp", deepspeed), sort_keys=True)


def is_json(deepspeed: str) -> bool:
    return deepspeed.lstrip().startswith("{")


def _parse(text: str, source: str) -> Settings:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{source} is not JSON: {error}."
        raise _refused(
            Problem("deepspeed", message, "JSON has no comments and no trailing commas.")
        ) from error
    if not isinstance(settings, dict):
        message = f"{source} holds {show(settings)}; DeepSpeed reads a mapping of settings."
        raise _refused(Problem("deepspeed", message, _PRESETS_ADVICE))
    if found := list(find_credentials(settings, "deepspeed")):
        raise _refused(*found)
    return settings


def zero_stage(settings: Settings) -> int:
    """What workers shard: 0 nothing, 1 optimizer states, 2 gradients as well, 3 weights as well."""
    stage = _zero(settings).get("stage", 0)
    return stage if isinstance(stage, int) else 0


def offloads(settings: Settings, what: Literal["optimizer", "param"]) -> bool:
    """Whether optimizer states or weights stay in main memory, or on disk, between their uses."""
    target = _zero(settings).get(f"offload_{what}")
    return isinstance(target, dict) and target.get("device", "none") != "none"


def compiles_optimizer(settings: Settings) -> bool:
    """Whether the optimizer is DeepSpeed's own for CPUs, which the first worker to need it compiles."""
    return offloads(settings, "optimizer") and settings.get("zero_force_ds_cpu_optimizer", True) is not False


def _zero(settings: Settings) -> Settings:
    section = settings.get("zero_optimization", {})
    return section if isinstance(section, dict) else {}


def _unreadable(file: Path, error: Exception) -> Problem:
    folder = file.parent
    if not isinstance(error, FileNotFoundError):
        return Problem(
            "deepspeed", f"{clip(str(file))} cannot be read: {_reason(error)}.", "Name a JSON file."
        )
    if not folder.is_dir():
        return Problem("deepspeed", f"{file} does not exist, nor does {folder}.", _PRESETS_ADVICE)
    names = [path.name for path in folder.iterdir() if path.is_file()]
    close = nearest(file.name, names) or nearest(f"{file.name}.json", names)
    action = f"Did you mean {folder / close}?" if close else _PRESETS_ADVICE
    return Problem("deepspeed", f"{file} does not exist.", action)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


_PRESETS_ADVICE = "Use strategy: zero2 or zero3, or copy a preset: `tadrib presets` says where they are."


def _refused(*problems: Problem) -> SpecError:
    return SpecError("the DeepSpeed configuration cannot be used", problems)
