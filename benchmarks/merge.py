# SPDX-License-Identifier: Apache-2.0
"""Memory and time of a merge of two fine-tunes with random weights, ours and mergekit's in one run.

`python -m benchmarks.merge --size 1.5b --method ties`. mergekit is in no lock: give the folder that it is installed in,
`pip install --target FOLDER --no-deps mergekit==0.1.5 immutables`, as --mergekit FOLDER; without it ours is alone.
Each merge is a process of its own, whose peak resident memory the kernel counts, the libraries' code included.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import Qwen2Config

from tadrib.training.model.weight_files.shards import write_shards

SIZES: dict[str, dict[str, int]] = {
    "0.3b": {"vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 12},
    "1.5b": {"vocab_size": 151_936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28},
}
OURS = """
import sys
from tadrib.training.model_merger import create_model_merger
create_model_merger(sys.argv[1], sys.argv[2]).merge()
"""
THEIRS = """
import sys, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
recipe = MergeConfiguration.model_validate(yaml.safe_load(open(sys.argv[1])))
run_merge(recipe, sys.argv[2], MergeOptions(copy_tokenizer=False, lazy_unpickle=True, low_cpu_memory=True))
"""


def write_model(folder: Path, size: dict[str, int], seed: int) -> None:
    """A Qwen2 in bfloat16 with random weights, written block by block, so that this process stays small."""
    config = Qwen2Config(**size, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True)
    config.architectures = ["Qwen2ForCausalLM"]
    config.save_pretrained(folder)
    from transformers import Qwen2ForCausalLM

    with torch.device("meta"):
        shapes = {name: tuple(each.shape) for name, each in Qwen2ForCausalLM(config).named_parameters()}
    pool = (torch.randn(2**24, generator=torch.Generator().manual_seed(seed)) * 0.02).to(torch.bfloat16)

    def blocks(name: str) -> Iterator[torch.Tensor]:
        """Rows from the pool, each tensor from another place in it: drawing billions of numbers takes minutes."""
        rows, *rest = shapes[name]
        width = math.prod(rest)
        start = zlib.crc32(name.encode()) % 2**20
        for first in range(0, rows, 1024):
            count = min(1024, rows - first)
            yield pool[start : start + count * width].reshape(count, *rest)

    write_shards(folder, {name: (torch.bfloat16, shape) for name, shape in shapes.items()}, blocks)


def measured(program: str, recipe: Path, output: Path, extra: str | None) -> dict[str, float]:
    """Seconds and peak resident memory (GiB) of one merge in a process of its own."""
    paths = [str(Path(__file__).parents[1]), *([extra] if extra else [])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", program, str(recipe), str(output)], env=env)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the merge failed with {child.returncode}")
    shutil.rmtree(output)
    return {"seconds": round(time.perf_counter() - start, 1), "peak_gib": round(used.ru_maxrss / 2**20, 3)}


def main(
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "1.5b",
    method: Annotated[str, typer.Option(help="linear, task_arithmetic or ties.")] = "task_arithmetic",
    mergekit: Annotated[str | None, typer.Option(help="Folder that mergekit is installed in.")] = None,
    folder: Annotated[str | None, typer.Option(help="Where there is space for four models.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
) -> None:
    """Merge two fine-tunes of one base model, by our program and by mergekit."""
    found: dict[str, Any] = {"size": size, "method": method, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        for seed, model in enumerate(("base", "a", "b")):
            write_model(place / model, SIZES[size], seed)
        (place / "merge.yaml").write_text(json.dumps(recipe_of(method, place)))  # JSON is YAML
        for side, program in {"ours": OURS, **({"mergekit": THEIRS} if mergekit else {})}.items():
            found[side] = measured(program, place / "merge.yaml", place / "merged", mergekit)
            print(side, found[side], flush=True)
    largest = SIZES[size]["vocab_size"] * SIZES[size]["hidden_size"] * 4
    found["largest_tensor_float32_gib"] = round(largest / 2**30, 3)
    found["allowed_gib"] = round((3 * largest + 10**9) / 2**30, 3)
    text = json.dumps(found, indent=1)
    print(text)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


def recipe_of(method: str, place: Path) -> dict[str, Any]:
    """The recipe of a merge of the models ``a`` and ``b``."""
    parameters = {"weight": 0.5, **({"density": 0.5} if method == "ties" else {})}
    models = [{"model": str(place / name), "parameters": parameters} for name in "ab"]
    recipe = {"merge_method": method, "models": models, "dtype": "bfloat16"}
    return recipe if method == "linear" else recipe | {"base_model": str(place / "base")}


if __name__ == "__main__":
    typer.run(main)
