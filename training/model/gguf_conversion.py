# SPDX-License-Identifier: Apache-2.0
"""Convert GGUF to safetensors, for a model of which only a GGUF file is left."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel
from transformers.utils.import_utils import is_gguf_available

from tadrib.training.errors import Problem, ResourceError, SpecError
from tadrib.training.files.permissions import follow_umask
from tadrib.training.model.damage import reason_of
from tadrib.training.model.gguf_file import gguf_file
from tadrib.training.model.source import ModelSource
from tadrib.training.model.weights import require_whole
from tadrib.training.notices import warn

_TITLE = "the model was not converted"


def convert(file: Path, target: Path) -> Path:
    """Write the weights (safetensors, float32) and tokenizer of a GGUF ``file`` to the folder ``target``; returns it.

    Raises SpecError if transformers cannot convert ``file``; ResourceError if ``target`` exists or the package `gguf`
    is missing.
    """
    _require(file, target)
    options = {"pretrained_model_name_or_path": str(file.parent.absolute()), "gguf_file": file.name}
    try:
        model = _unpacked(file, options)
        tokenizer = AutoTokenizer.from_pretrained(**options)
    except SpecError:
        raise
    except Exception as error:  # an unknown layout can fail anywhere in transformers' conversion
        action = "Check that the copy is complete, or use the model it was converted from."
        raise SpecError(_TITLE, [Problem(str(file), f"{reason_of(error)}.", action)]) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        aside.chmod(0o755)
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        follow_umask(aside)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if tokenizer.chat_template is None:
        warn(f"{file} has no chat template: set instruction_template, as for a base model.")
    return target


def _require(file: Path, target: Path) -> None:
    problems = []
    if gguf_file(file) != file:
        raise SpecError(_TITLE, [Problem(str(file), "is not a GGUF file.", "Give a *.gguf file.")])
    if target.exists():
        problems.append(Problem(str(target), "exists.", "Choose another folder."))
    if not is_gguf_available():
        message = "reading GGUF files requires the package gguf, which is not installed."
        problems.append(Problem(str(file), message, "Install it with: pip install gguf"))
    if problems:
        raise ResourceError(_TITLE, problems)


def _unpacked(file: Path, options: dict[str, str]) -> PreTrainedModel:
    """The dequantized model in float32. Raises SpecError if weights are missing or unknown."""
    model, report = AutoModelForCausalLM.from_pretrained(
        **options,
        dtype="float32",
        quantization_config=GgufConfig(dequantize=True),
        output_loading_info=True,
    )
    require_whole(ModelSource("file", str(file)), model, report)
    return model
