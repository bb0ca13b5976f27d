# SPDX-License-Identifier: Apache-2.0
"""Where a model comes from: the folder or Hub name that somebody wrote, and what is said when it cannot be loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import CommonConfig
from training.errors import Problem, SpecError, nearest
from training.permissions import unreadable_files

TITLE = "the model cannot be loaded"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A folder or Hub ``name`` and the ``key`` it was written under, which errors are reported at."""

    key: str
    name: str
    revision: str | None = None
    trust_remote_code: bool = False

    @classmethod
    def start(cls, config: CommonConfig) -> ModelSource:
        """What training starts from: ``model_name``."""
        return cls("model_name", config.model_name, config.model_revision, config.trust_remote_code)

    @classmethod
    def reference(cls, config: CommonConfig) -> ModelSource | None:
        """``ref_model_name``; None where that is not set, or not a key of the method."""
        name = getattr(config, "ref_model_name", None)
        return None if name is None else cls("ref_model_name", name, None, config.trust_remote_code)

    @classmethod
    def saved(cls, path: str | Path, config: CommonConfig) -> ModelSource:
        """A model that was saved at ``path``."""
        return cls("path", str(path), None, config.trust_remote_code)

    @property
    def options(self) -> dict[str, Any]:
        """What every ``from_pretrained`` is told of the model besides its place."""
        return {"revision": self.revision or "main", "trust_remote_code": self.trust_remote_code}

    @property
    def folder(self) -> Path | None:
        """The folder that ``name`` is; None for a Hub name."""
        return Path(self.name) if Path(self.name).is_dir() else None


def locate(source: ModelSource) -> str:
    """The folder or Hub name. Raises SpecError for a name that can only be a folder and is none."""
    name = source.name
    if source.folder is None and _can_only_be_a_folder(source):
        raise SpecError(TITLE, [_missing_folder(source)])
    return name


def _can_only_be_a_folder(source: ModelSource) -> bool:
    name = source.name
    return (
        source.key == "path"
        or Path(name).is_absolute()
        or name.startswith((".", "~"))
        or name.count("/") > 1
        or Path(name).parent.is_dir()
    )


def _missing_folder(source: ModelSource) -> Problem:
    name, parent = source.name, Path(source.name).parent
    siblings = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
    close = nearest(Path(name).name, siblings)
    if close:
        action = f"Did you mean {parent / close}?"
    elif parent.is_dir():
        action = f"{parent} holds: {', '.join(sorted(siblings)[:10]) or 'no folders'}."
    else:
        action = f"{parent} does not exist either."
    if source.key != "path":
        action += f" `tadrib tiny-model {name}` builds a tiny one."
    return Problem(source.key, f"folder {name} does not exist.", action)


def unloadable(source: ModelSource, error: Exception) -> SpecError:
    """The error for a user when ``from_pretrained`` raised ``error``."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".:")
    folder = source.folder
    if folder is None:
        action = (
            "Check the spelling, network access and HF_TOKEN, or give the path of a local folder"
            f" ({Path(source.name).absolute()} is none)."
        )
        return SpecError(TITLE, [Problem(source.key, f"Hub name {source.name}: {reason}.", action)])
    if locked := unreadable_files(folder):
        message = f"folder {source.name}: this user (uid {os.getuid()}) may not read {', '.join(locked)}."
        action = f"Let its owner run `chmod -R a+rX {source.name}`."
        return SpecError(TITLE, [Problem(source.key, message, action)])
    action = "Check that it holds config.json, a tokenizer and *.safetensors weights, all complete."
    return SpecError(TITLE, [Problem(source.key, f"folder {source.name}: {reason}.", action)])
