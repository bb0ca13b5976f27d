# SPDX-License-Identifier: Apache-2.0
"""Where a model comes from: a folder or Hub name from the spec, and the error message if it cannot be loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, SpecError, nearest
from tadrib.training.files.permissions import unreadable_files
from tadrib.training.files.regular_file import special_files
from tadrib.training.model.damage import corrupt_file, part_of, reason_of
from tadrib.training.model.gguf_file import describe, gguf_file
from tadrib.training.run.names import step_of

TITLE = "the model cannot be loaded"
CONFIG_FILE = "config.json"
ADAPTER_FILE = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A folder or Hub ``name``, and the config ``key`` it was given under, for error messages."""

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
        """``ref_model_name``; None if it is not set, or the method has no such key."""
        name = getattr(config, "ref_model_name", None)
        return None if name is None else cls("ref_model_name", name, None, config.trust_remote_code)

    @classmethod
    def saved(cls, path: str | Path, config: CommonConfig) -> ModelSource:
        """A model that was saved at ``path``."""
        return cls("path", str(path), None, config.trust_remote_code)

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments common to every ``from_pretrained`` call."""
        return {"revision": self.revision or "main", "trust_remote_code": self.trust_remote_code}

    @property
    def folder(self) -> Path | None:
        """The folder ``name`` refers to; None for a Hub name."""
        return Path(self.name) if os.path.isdir(self.name) else None

    @property
    def is_saved(self) -> bool:
        """Whether this source was created by `saved`."""
        return self.key == "path"

    @property
    def is_surely_a_folder(self) -> bool:
        """Whether ``name`` cannot be a Hub name."""
        path = Path(self.name)
        looks_like_one = path.is_absolute() or self.name.startswith((".", "~")) or self.name.count("/") > 1
        return self.is_saved or looks_like_one or path.parent.is_dir()


def locate(source: ModelSource) -> str:
    """The folder or Hub name to load. Raises SpecError for a folder that does not exist, contains a run rather than a
    model, or contains only a GGUF file."""
    folder = source.folder
    if (file := gguf_file(Path(source.name))) is not None and not (folder and _is_model(folder)):
        raise SpecError(TITLE, [_not_for_training(source, file)])
    if folder is None and os.path.isfile(source.name):
        raise SpecError(TITLE, [_not_a_folder(source)])
    if folder is None and source.is_surely_a_folder:
        raise SpecError(TITLE, [_missing_folder(source)])
    if folder is not None and not _is_model(folder) and (inner := _models_in(folder)):
        message = f"folder {source.name} contains a run, not a model."
        raise SpecError(TITLE, [Problem(source.key, message, f"Did you mean {inner[0]}?")])
    if folder is not None and (odd := special_files(folder)):
        message = f"folder {source.name} contains {odd[0]}, which would block the libraries that read it."
        raise SpecError(TITLE, [Problem(source.key, message, "Replace it with the model's file.")])
    return source.name


def _is_model(folder: Path) -> bool:
    return (folder / CONFIG_FILE).is_file() or (folder / ADAPTER_FILE).is_file()


def _models_in(run: Path) -> list[Path]:
    """The models in a run's folder: the final one, then its checkpoints, newest first."""
    found = [*run.glob("checkpoint-*"), *run.glob("*/checkpoint-*")]
    checkpoints = {step: path for path in found if (step := step_of(path.name)) is not None}
    newest_first = [checkpoints[step] for step in sorted(checkpoints, reverse=True)]
    return [path for path in (run / "final", *newest_first) if _is_model(path)]


def _not_for_training(source: ModelSource, file: Path) -> Problem:
    about = describe(file)
    message = (
        f"{file} is a GGUF file{f' of {about}' if about else ''}, a format for inference engines; training needs"
        " *.safetensors weights."
    )
    if _is_model(file.parent):
        return Problem(source.key, message, f"Did you mean {file.parent}?")
    action = (
        "Give the name or folder of the model it was converted from. If that is unavailable, convert the file, which"
        f" keeps its quantization error: tadrib convert {quote(str(file))} {quote(str(file.with_suffix('')))}"
    )
    return Problem(source.key, message, action)


def _not_a_folder(source: ModelSource) -> Problem:
    parent = Path(source.name).parent
    action = "A model is a folder with config.json, a tokenizer and *.safetensors weights."
    if _is_model(parent):
        action = f"Did you mean {parent}?"
    return Problem(source.key, f"{source.name} is a file, not the folder of a model.", action)


def _missing_folder(source: ModelSource) -> Problem:
    name, parent = source.name, Path(source.name).parent
    siblings = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
    close = nearest(Path(name).name, siblings)
    if close:
        action = f"Did you mean {parent / close}?"
    elif parent.is_dir():
        action = f"{parent} contains: {', '.join(sorted(siblings)[:10]) or 'no folders'}."
    else:
        action = f"{parent} does not exist either."
    if not source.is_saved:
        action += f" `tadrib tiny-model {name}` builds a tiny one."
    return Problem(source.key, f"folder {name} does not exist.", action)


def unloadable(source: ModelSource, error: Exception, part: str = "") -> SpecError:
    """The user-facing error for an ``error`` of ``from_pretrained``. ``part`` names the part of the model, if the
    error's text does not."""
    reason = reason_of(error)
    folder = source.folder
    if folder is None:
        action = (
            "Check the spelling, network access and HF_TOKEN, or give the path of a local folder"
            f" ({Path(source.name).absolute()} does not exist)."
        )
        if "gguf" in source.name.lower():
            action = (
                "GGUF is a format for inference engines: give the name of the model it was converted from."
            )
        return SpecError(TITLE, [Problem(source.key, f"Hub name {source.name}: {reason}.", action)])
    if locked := unreadable_files(folder):
        message = f"folder {source.name}: this user (uid {os.getuid()}) has no permission to read {', '.join(locked)}."
        action = f"Its owner can run `chmod -R a+rX {source.name}`."
        return SpecError(TITLE, [Problem(source.key, message, action)])
    reason = corrupt_file(folder) or f"{part_of(folder, reason) or part}{reason}"
    action = "Check that it contains config.json, a tokenizer and *.safetensors weights, all complete."
    return SpecError(TITLE, [Problem(source.key, f"folder {source.name}: {reason}.", action)])
