# SPDX-License-Identifier: Apache-2.0
"""Builders of the data tests: rows of every method, files of them, and a small tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tadrib.training.config import METHODS, CommonConfig

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONTROL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<bos>",
]
_TEXTS = [
    "ما عاصمة مصر؟ عاصمة مصر هي القاهرة. ما عاصمة الأردن؟ عاصمة الأردن هي عمان.",
    "The capital of Egypt is Cairo. Translate to Arabic: hello world. Answer in one word, please.",
    "اللغة العربية لغة جميلة، ولها قواعد دقيقة ومعاجم كبيرة.",
]


@lru_cache
def build_tokenizer(
    chat_template: str | None = CHATML, adds_bos: bool = False, chat_tokens: bool = True
) -> PreTrainedTokenizerFast:
    """Byte-level BPE, about 600 tokens, EOS ``<|endoftext|>``; ``adds_bos`` writes ``<bos>`` first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    control = CONTROL_TOKENS if chat_tokens else ["<|endoftext|>", "<bos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=control, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_TEXTS * 5, trainer)
    if adds_bos:
        bos = ("<bos>", tokenizer.token_to_id("<bos>"))
        tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[bos])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        bos_token="<bos>" if adds_bos else None,
        additional_special_tokens=control[1:-1],
        chat_template=chat_template,
    )


@lru_cache
def build_sentencepiece(prepend: str, chat_template: str) -> PreTrainedTokenizerFast:
    """A SentencePiece-like BPE with byte fallback, BOS ``<s>`` and EOS ``</s>``, whose pieces begin words with ``▁``.

    ``prepend`` says where it adds a space that the text does not have: ``normalizer`` (Llama 2: before every stretch
    between control tokens), ``always`` (the same, as a pre-tokenizer), ``first`` (at the start of a text alone) or
    ``never`` (Gemma).
    """
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    learning = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    learning.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False
    )
    learning.train_from_iterator([*_TEXTS, "[INST] [/INST] <|user|> <|assistant|>"] * 5, trainer)
    learnt = json.loads(learning.to_str())["model"]
    tokenizer = Tokenizer(
        models.BPE(
            learnt["vocab"], [tuple(m) for m in learnt["merges"]], unk_token="<unk>", byte_fallback=True
        )
    )
    if prepend == "normalizer":
        replace = normalizers.Replace(" ", "▁")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"],
        chat_template=chat_template,
    )


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


_ROWS: dict[str, dict[str, Any]] = {
    "sft": {"instruction": "ما عاصمة مصر؟", "response": "القاهرة"},
    "dpo": {"prompt": "ما عاصمة مصر؟\n", "chosen": "القاهرة", "rejected": "عمان"},
    "simpo": {"prompt": "ما عاصمة مصر؟\n", "chosen": "القاهرة", "rejected": "عمان"},
    "ipo": {"prompt": "ما عاصمة مصر؟\n", "chosen": "القاهرة", "rejected": "عمان"},
    "cpo": {"prompt": "ما عاصمة مصر؟\n", "chosen": "القاهرة", "rejected": ["عمان", "بغداد"]},
    "kto": {"prompt": "ما عاصمة مصر؟\n", "completion": "القاهرة", "label": True},
}


def row(method: str, **changes: Any) -> dict[str, Any]:
    """A good row of ``method`` with columns changed, or left out when set to ``...``."""
    return {column: value for column, value in (_ROWS[method] | changes).items() if value is not ...}


def rows(method: str, count: int) -> list[dict[str, Any]]:
    """``count`` good rows with different prompts; KTO labels alternate."""
    first = "instruction" if method == "sft" else "prompt"
    made = [row(method, **{first: f"{row(method)[first]} {index}\n"}) for index in range(count)]
    if method == "kto":
        made = [item | {"label": index % 2 == 0} for index, item in enumerate(made)]
    return made


def write_jsonl(path: Path, items: Iterable[Any]) -> str:
    """Writes one line per item: a string or bytes as they stand, anything else as JSON."""
    lines = []
    for item in items:
        if isinstance(item, str):
            item = item.encode()
        lines.append(item if isinstance(item, bytes) else json.dumps(item, ensure_ascii=False).encode())
    path.write_bytes(b"\n".join(lines) + b"\n")
    return str(path)


def config(method: str, dataset: str = "rows.jsonl", **fields: Any) -> CommonConfig:
    """A config with SFT's ``alpaca`` or ``plain``, whatever template the tokenizer has, unless ``fields`` say more."""
    template = "alpaca" if method == "sft" else "plain"
    return METHODS[method].config(
        model_name="tiny", dataset_path=dataset, **{"instruction_template": template} | fields
    )
