# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.data`: preparing SFT rows, with one process, with one for each core, and with TRL's two.

Rows are Arabic questions with answers of about 140 tokens, rendered with a ChatML template and tokenized. Each side is
a program that reads the same JSON Lines file; rows per second count from its first line to rows that can be trained on,
memory is the most that its processes had resident together. The plan of an epoch of ten million rows is measured, too.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks.harness import hardware
from benchmarks.processes import tree
from tadrib.training.config import SFTConfig

_SECONDS_BETWEEN_LOOKS = 0.2
_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_TEXT = (
    "ما هي عاصمة مصر القاهرة الأردن عمان اللغة العربية جميلة ولها قواعد دقيقة ومعاجم كبيرة في كل بلد مدينة قديمة على "
    "نهر طويل كتب الشاعر قصيدة عن البحر والجبل ثم قرأها أمام الناس فأعجبتهم كثيرا وطلبوا منه أن يعيدها قبل الغروب"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One side with ``rows``: their number, rows per second, and the most bytes resident."""

    side: str
    rows: int
    rows_per_second: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class PlanFigure:
    """The plan of an epoch of ``rows``: seconds, and bytes beyond those of the lengths."""

    rows: int
    bin_tokens: int | None
    seconds: float
    bytes: int


def main(
    rows: Annotated[int, typer.Option(help="Rows of the largest file.")] = 1_000_000,
    fewer: Annotated[int, typer.Option(help="Rows of the file for memory's growth.")] = 200_000,
    compared: Annotated[int, typer.Option(help="Rows of the file for the comparison of speeds.")] = 40_000,
    planned: Annotated[int, typer.Option(help="Rows of the plan.")] = 10_000_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = _write_tokenizer(folder)
        figures = []
        for count, sides in ((compared, SIDES), (fewer, ("processes",)), (rows, ("processes",))):
            file = _write_rows(folder / f"{count}.jsonl", count)
            figures += [_measured(side, file, tokenizer, count) for side in sides]
            file.unlink()
    plans = [_measured_plan(planned, bins) for bins in (None, 2048)]
    _report(figures, plans, json_file)


# --- material


def _write_rows(file: Path, count: int) -> Path:
    draw, words = random.Random(0), _TEXT.split()
    with file.open("w", encoding="utf-8") as out:
        for number in range(count):
            question = " ".join(draw.choices(words, k=draw.randint(8, 24)))
            answer = " ".join(draw.choices(words, k=draw.randint(40, 150)))
            messages = [
                {"role": "user", "content": f"{number} {question}؟"},
                {"role": "assistant", "content": answer},
            ]
            out.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return file


def _write_tokenizer(folder: Path) -> Path:
    """A byte-level BPE of 400 tokens with ChatML's marks, in a model folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=marks, show_progress=False)
    tokenizer.train_from_iterator([_TEXT] * 10, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token=marks[0])
    made.chat_template = _CHATML
    made.save_pretrained(folder / "tokenizer")
    return folder / "tokenizer"


# --- sides


def _with_processes(file: str, tokenizer: Any, folder: str) -> int:
    from tadrib.training.data.prepare import prepare_data

    config = SFTConfig(dataset_path=file, max_seq_length=1024)
    return len(prepare_data(config, "sft", tokenizer, store=folder).train)


def _alone(file: str, tokenizer: Any, folder: str) -> int:
    from tadrib.training.data.blocks import processes

    processes._OWN_BLOCKS = sys.maxsize
    return _with_processes(file, tokenizer, folder)


def _with_trl(file: str, tokenizer: Any, folder: str) -> int:
    from datasets import load_dataset
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from trl import SFTConfig as TRLConfig
    from trl import SFTTrainer

    tiny = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    rows = load_dataset("json", data_files=file, split="train", cache_dir=folder)
    settings = {
        "output_dir": folder,
        "dataset_num_proc": 2,
        "max_length": 1024,
        "use_cpu": True,
        "bf16": False,
    }
    trainer = SFTTrainer(
        Qwen2ForCausalLM(tiny), TRLConfig(**settings), train_dataset=rows, processing_class=tokenizer
    )
    return len(trainer.train_dataset)


SIDES: dict[str, Callable[[str, Any, str], int]] = {
    "processes": _with_processes,
    "one process": _alone,
    "TRL, two processes": _with_trl,
}


def _run_side(side: str, file: str, tokenizer: str) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        rows = SIDES[side](file, loaded, folder)
        print(json.dumps({"rows": rows, "seconds": time.perf_counter() - began}))


def _measured(side: str, file: Path, tokenizer: Path, rows: int) -> Figure:
    """Run a side, and look at the memory of its processes meanwhile. Raises CalledProcessError when it fails."""
    command = [sys.executable, "-m", "benchmarks.data", "--side", side, str(file), str(tokenizer)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(_resident, tree(process.pid))))
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    found = json.loads(output.splitlines()[-1])
    assert found["rows"] == rows
    return Figure(side, rows, rows / found["seconds"], peak)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


# --- plans


def _measured_plan(rows: int, bin_tokens: int | None) -> PlanFigure:
    command = [sys.executable, "-m", "benchmarks.data", "--plan", str(rows), str(bin_tokens or 0)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return PlanFigure(rows, bin_tokens, **json.loads(output.splitlines()[-1]))


def _run_plan(rows: int, bin_tokens: int) -> None:
    import resource

    import numpy as np

    from tadrib.training.engine.plan import EpochPlanner

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    drawn = np.random.default_rng(0).lognormal(4.8, 0.6, rows).astype(np.float32)
    lengths = np.clip(drawn, 3, 2048).astype(np.int32)
    del drawn
    before, began = peak(), time.perf_counter()
    planner = EpochPlanner(lengths, rows_per_step=64, num_workers=8, bin_tokens=bin_tokens or None)
    list(islice(planner.plan(1), 10))
    print(json.dumps({"seconds": time.perf_counter() - began, "bytes": peak() - before}))


# --- report


def _report(figures: list[Figure], plans: list[PlanFigure], json_file: Path | None) -> None:
    console = Console(width=120, highlight=False)
    console.print(hardware())
    for each in figures:
        memory = f"{each.peak_bytes / 2**20:,.0f} MiB"
        console.print(f"{each.side}, {each.rows:,} rows: {each.rows_per_second:,.0f} rows/s, {memory}")
    ours, alone, trl, few, many = figures
    ratios = {
        "speed over one process": (ours.rows_per_second / alone.rows_per_second, 1.6),
        "speed over TRL": (ours.rows_per_second / trl.rows_per_second, 1.5),
        "memory over that of fewer rows": (many.peak_bytes / few.peak_bytes, 1.1),
        "GB resident": (many.peak_bytes / 1e9, 2.0),
    }
    for name, (value, bar) in ratios.items():
        console.print(f"{name}: {value:.2f} (bar {bar})")
    for plan in plans:
        packed = f", packed into {plan.bin_tokens}" if plan.bin_tokens else ""
        memory = f"{plan.bytes / 2**20:,.0f} MiB"
        console.print(
            f"plan of {plan.rows:,} rows{packed}: {plan.seconds:.1f} s (bar 5), {memory} (bar 400 MB)"
        )
    if json_file is not None:
        facts = {
            "date": datetime.now(UTC).date().isoformat(),
            "hardware": hardware(),
            "figures": [asdict(figure) for figure in figures],
            "plans": [asdict(plan) for plan in plans],
            "ratios": {name: round(value, 3) for name, (value, _) in ratios.items()},
        }
        json_file.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        _run_side(*sys.argv[2:])
    elif sys.argv[1:2] == ["--plan"]:
        _run_plan(*map(int, sys.argv[2:]))
    else:
        typer.run(main)
