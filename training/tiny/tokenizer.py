# SPDX-License-Identifier: Apache-2.0
"""The tiny model's tokenizer: Qwen2's, with a vocabulary trained on the bundled data or on given texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tadrib.training.errors import DataError, Problem
from tadrib.training.files.regular_file import read_regular

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

BUNDLED_DATA = Path(__file__).parents[2] / "examples" / "data"
VOCABULARY = 3072
MAX_LENGTH = 2048

END_OF_TEXT, START_OF_TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tokenizer(texts: Sequence[Path] | None) -> Qwen2Tokenizer:
    """A tokenizer trained on the files ``texts``, by default on the bundled training sets.

    Raises DataError if a file cannot be read, or none is given and the bundled data are not installed.
    """
    return _learned(_strings(_bundled_texts() if texts is None else texts))


def _bundled_texts() -> list[Path]:
    files = sorted(BUNDLED_DATA.glob("*_train.jsonl"))
    if not files:
        raise DataError(
            "The tiny model needs text for its tokenizer",
            [
                Problem(
                    str(BUNDLED_DATA),
                    "the bundled data sets are not there (they come with the source, not with the package).",
                    "Give text or JSON Lines files: --text FILE, or build_tiny_model(directory, texts=[...]).",
                    "bundled_texts",
                )
            ],
        )
    return files


def _strings(files: Sequence[Path]) -> Iterator[str]:
    problems = []
    for path in files:
        try:
            lines = read_regular(path).decode().splitlines()
            yield from (text for line in lines for text in _texts_in(line, path.suffix == ".jsonl"))
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            action = "Give plain text in UTF-8, or JSON Lines with the extension .jsonl."
            problems.append(Problem(str(path), f"cannot be read: {reason}.", action, "read_texts"))
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


def _learned(texts: Iterator[str]) -> Qwen2Tokenizer:
    """Qwen2's normalizer, pre-tokenizer and byte alphabet, with a vocabulary trained on ``texts``."""
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
    """The texts, preceded by the role names, often enough that each becomes a single token."""
    yield from ["system", "user", "assistant"] * 100
    yield from texts
