# SPDX-License-Identifier: Apache-2.0
"""Where a model comes from: the folder or Hub name of a spec, and what is said when nothing can be loaded from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from training.config import CommonConfig
from training.errors import Problem, SpecError, nearest
from training.permissions import unreadable_files


def source_options(config: CommonConfig) -> dict[str, Any]:
    """What every ``from_pretrained`` is told of the model besides its place."""
    return {"revision": config.model_revision or "main", "trust_remote_code": config.trust_remote_code}


def locate(config: CommonConfig) -> str:
    """The folder or Hub name; a name that can only be a folder must be one."""
    name = config.model_name
    if Path(name).is_dir():
        return name
    if (
        Path(name).is_absolute()
        or name.startswith((".", "~"))
        or name.count("/") > 1
        or Path(name).parent.is_dir()
    ):
        raise SpecError("the model cannot be loaded", [_missing_folder(name)])
    return name


def _missing_folder(name: str) -> Problem:
    parent = Path(name).parent
    siblings = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
    close = nearest(Path(name).name, siblings)
    if close:
        action = f"Did you mean {parent / close}?"
    elif parent.is_dir():
        action = f"{parent} holds: {', '.join(sorted(siblings)[:10]) or 'no folders'}."
    else:
        action = f"{parent} does not exist either."
    return Problem(
        "model_name",
        f"folder {name} does not exist.",
        f"{action} `tadrib tiny-model {name}` builds a tiny one.",
    )


def unloadable(config: CommonConfig, error: Exception) -> SpecError:
    """The error for a user when ``from_pretrained`` raised ``error``."""
    reason = str(error).strip().splitlines()[0]
    where = "folder" if Path(config.model_name).is_dir() else "Hub name"
    if where == "folder" and (locked := unreadable_files(Path(config.model_name))):
        message = (
            f"folder {config.model_name}: this user (uid {os.getuid()}) may not read {', '.join(locked)}."
        )
        action = f"Let its owner run `chmod -R a+rX {config.model_name}`."
        return SpecError("the model cannot be loaded", [Problem("model_name", message, action)])
    action = (
        "Check that it holds config.json, a tokenizer and *.safetensors weights."
        if where == "folder"
        else "Check the spelling, network access and HF_TOKEN, or give the path of a local folder."
    )
    return SpecError(
        "the model cannot be loaded",
        [Problem("model_name", f"{where} {config.model_name}: {reason}.", action)],
    )
