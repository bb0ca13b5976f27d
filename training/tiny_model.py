# SPDX-License-Identifier: Apache-2.0
"""Tiny model: a Qwen2 of a million random weights with a tokenizer of its own, made offline in seconds.

It learns the bundled data on two CPU cores in about two minutes, and stands in for a real model wherever
the way matters and the knowledge does not: in the demo, the examples, the tests. The same seed and texts
give the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.errors import DataError, Problem, ResourceError

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

BUNDLED_DATA = Path(__file__).resolve().parent.parent / "examples" / "data"
MARKER = "tadrib_tiny_model"
VOCABULARY = 3072
MAX_LENGTH = 2048

END_OF_TEXT, START_OF_TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tiny_model(
    directory: str | os.PathLike[str], texts: Sequence[str | os.PathLike[str]] | None = None, seed: int = 0
) -> Path:
    """Write the model (safetensors, float32) and its tokenizer to ``directory``; returns that path.

    The tokenizer learns from ``texts``: JSON lines files, of which every string value is read, or plain text
    files; by default from the bundled training sets. A tiny model that is there already is replaced.

    Raises DataError when a text file cannot be read, or none is given and the bundled data are not installed;
    ResourceError when ``directory`` holds something that is not a tiny model.
    """
    target = Path(directory)
    _refuse_other_content(target)
    files = [Path(text) for text in texts] if texts is not None else _bundled_texts()
    tokenizer = _tokenizer(_strings(files))
    model = _model(tokenizer, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        aside.chmod(0o755)
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _refuse_other_content(target: Path) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    config = target / "config.json"
    if config.is_file() and MARKER in json.loads(config.read_text(encoding="utf-8")):
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


def _bundled_texts() -> list[Path]:
    files = sorted(BUNDLED_DATA.glob("*_train.jsonl"))
    if not files:
        raise DataError(
            "The tiny model needs text for its tokenizer",
            [
                Problem(
                    str(BUNDLED_DATA),
                    "the bundled data sets are not there (they come with the source, not with the package).",
                    "Give text or JSON lines files: build_tiny_model(directory, texts=[...]).",
                    "bundled_texts",
                )
            ],
        )
    return files


def _strings(files: Sequence[Path]) -> Iterator[str]:
    problems = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            yield from (text for line in lines for text in _texts_in(line, path.suffix == ".jsonl"))
        except (OSError, ValueError) as error:
            problems.append(Problem(str(path), f"cannot be read: {error}.", "", "read_texts"))
    if problems:
        raise DataError("The tokenizer's text cannot be read", problems)


def _texts_in(line: str, is_json: bool) -> Iterator[str]:
    """The line itself, or every string inside its JSON value."""
    values = [json.loads(line)] if is_json else [line]
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            values += value
        elif isinstance(value, dict):
            values += value.values()


def _tokenizer(texts: Iterator[str]) -> Qwen2Tokenizer:
    """Qwen2's normaliser, word splitting and byte alphabet, with a vocabulary learned from ``texts``."""
    from tokenizers import pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    backend = Qwen2Tokenizer().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, START_OF_TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_with_roles(texts), trainer)
    learned = json.loads(backend.to_str())["model"]
    merges: Any = [tuple(merge) for merge in learned["merges"]]
    return Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=merges,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[START_OF_TURN],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
    )


def _with_roles(texts: Iterator[str]) -> Iterator[str]:
    """The texts, and the role names often enough to become one token each."""
    yield from ["system", "user", "assistant"] * 100
    yield from texts


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
