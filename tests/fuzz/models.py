# SPDX-License-Identifier: Apache-2.0
"""Model folder: config, tokenizer or weights that are not what they say."""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from functools import cache
from pathlib import Path
from random import Random

from tadrib.training.config import SFTConfig
from tests.fuzz.fragments import json_fragment
from tests.fuzz.mutations import mutated


def try_model(random: Random, folder: Path) -> None:
    from tadrib.training.model.load import load_model
    from tadrib.training.model.tokenizer import load_tokenizer

    path = folder / "model"
    shutil.copytree(good_model(), path)
    file = random.choice(sorted(path.iterdir()))
    _harm(random, file)
    config = SFTConfig(model_name=str(path), torch_dtype="float32", use_lora=random.random() < 0.5)
    load_tokenizer(config)
    load_model(config)


@cache
def good_model() -> Path:
    """A folder of a tiny model. The first call takes the seconds that the libraries need to load."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    from tests.data.builders import build_tokenizer

    disable_progress_bar()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-model-"))
    build_tokenizer().save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=640, **shape)).save_pretrained(folder)
    return folder


def _harm(random: Random, file: Path) -> None:
    content = file.read_bytes()
    if file.suffix == ".safetensors":
        file.write_bytes(_lying(random, content))
    elif file.suffix == ".json" and random.random() < 0.7:
        value = json.loads(content)
        pairs = {name: json.dumps(item) for name, item in value.items()}
        pairs[random.choice(list(value))] = json_fragment(random)
        file.write_text(
            "{" + ", ".join(f"{json.dumps(k)}: {v}" for k, v in pairs.items()) + "}", encoding="utf-8"
        )
    else:
        file.write_bytes(mutated(random, content))


def _lying(random: Random, content: bytes) -> bytes:
    """Safetensors (8 bytes of header length, header, tensors) whose header does not say what follows."""
    (length,) = struct.unpack("<Q", content[:8])
    header, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]
    name = random.choice([key for key in header if key != "__metadata__"])
    match random.randrange(7):
        case 0:
            return struct.pack("<Q", random.choice([0, 1, length + 1, 2**40, 2**64 - 1])) + content[8:]
        case 1:
            header[name]["dtype"] = random.choice(["F16", "I64", "BOOL", "F8_E4M3", "X", 3])
        case 2:
            header[name]["shape"] = random.choice([[], [-1], [2**40, 2**40], [0], "x", [3, 5]])
        case 3:
            header[name]["data_offsets"] = random.choice([[0, 4], [4, 0], [0, 2**60], [-1, 4], [0]])
        case 4:
            del header[name]
        case 5:
            tensors = tensors[: random.randrange(len(tensors))]
        case _:
            return mutated(random, content)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors
