# SPDX-License-Identifier: Apache-2.0
"""Tiny model: a Qwen2 with a million random weights and its own tokenizer, built offline in seconds.

It learns the bundled data on two CPU cores in about two minutes. It replaces a real model wherever the pipeline matters
and knowledge does not: in the demo, the examples and the tests. The same seed and texts give the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tadrib.training.errors import Problem, ResourceError
from tadrib.training.files.permissions import follow_umask
from tadrib.training.files.regular_file import read_regular
from tadrib.training.tiny.tokenizer import MAX_LENGTH, build_tokenizer

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

MARKER = "tadrib_tiny_model"


def build_tiny_model(
    directory: str | os.PathLike[str], texts: Sequence[str | os.PathLike[str]] | None = None, seed: int = 0
) -> Path:
    """Write the model (safetensors, float32) and its tokenizer to ``directory``; returns that path.

    The tokenizer is trained on ``texts``: JSON Lines files, of which every string value is used, or plain text files.
    The default is the bundled training sets. An existing tiny model is replaced.

    Raises DataError if a text file cannot be read, or none is given and the bundled data are not installed;
    ResourceError if ``directory`` contains something other than a tiny model.
    """
    target = Path(directory)
    _refuse_other_content(target)
    from tadrib.training.compat.accelerate import import_deepspeed_on_demand

    tokenizer = build_tokenizer(None if texts is None else [Path(text) for text in texts])
    model = _model(tokenizer, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        aside.chmod(0o755)
        import_deepspeed_on_demand()
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        follow_umask(aside)
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _refuse_other_content(target: Path) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if _is_ours(target / "config.json"):
        return
    raise ResourceError(
        "The tiny model was not written",
        [
            Problem(
                str(target),
                "exists and is not a tiny model.",
                "Choose another directory.",
                "refuse_other_content",
            )
        ],
    )


def _is_ours(config: Path) -> bool:
    """Whether ``config`` is a tiny model's. A missing or invalid file may belong to something else."""
    try:
        settings = json.loads(read_regular(config))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and MARKER in settings


def _model(tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2ForCausalLM:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    marker: dict[str, Any] = {MARKER: {"seed": seed}}
    config = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.06,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **marker,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)
