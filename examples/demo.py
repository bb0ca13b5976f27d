# SPDX-License-Identifier: Apache-2.0
"""`make demo`: build a tiny model, train it on examples/01-sft.yaml, and ask it questions it has not seen.

Exits with 1 when an answer to the first question, which held-out rows show to be within its reach, is wrong.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")  # the run shows its own progress line

from rich.console import Console
from rich.table import Table

from tadrib.training.config import JobSpec, load_spec, resolve
from tadrib.training.errors import TadribError

SPEC = Path("examples/01-sft.yaml")
HELD_OUT = Path("examples/data/sft_heldout.jsonl")
QUESTIONS = (
    "ما العدد 276 بالكلمات؟",
    "اكتب بالأرقام: خمسمئة وأربعة",
    "كم مجموع ثمانية وستة؟",
    "ما عاصمة فرنسا؟",
    "كيف نجمع كلمة جامعة؟",
    "ترجم إلى العربية: eight doors",
)


def main() -> int:
    os.chdir(Path(__file__).parent.parent)
    from tadrib.ray_jobs.driver.launch import launch
    from tadrib.training.tiny.model import build_tiny_model

    spec = load_spec(SPEC)
    if not Path(spec.config.model_name).is_dir():
        build_tiny_model(spec.config.model_name)
    result = launch(spec, command="make demo")
    before, after = (e or {} for e in (result.evaluation_before, result.evaluation))
    right = ask(spec)
    console = Console()
    console.print(
        f"held-out perplexity: {before['eval_perplexity']:,.1f} before, {after['eval_perplexity']:.3f} after\n"
        f"run directory: {spec.run_dir}"
    )
    return 0 if right else 1


def ask(spec: JobSpec) -> bool:
    """Print answers to held-out questions beside what they should be; whether the first is right."""
    from tadrib.training.sft_trainer import SFTTrainer

    logging.getLogger("tadrib").setLevel(logging.ERROR)  # the run has said it already
    rows = [json.loads(line) for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]
    expected = {row["instruction"]: row["response"] for row in rows}
    trainer = SFTTrainer(resolve(spec).spec.config)
    trainer.load_model(Path(spec.run_dir) / "final")
    answers = trainer.predict_batch(list(QUESTIONS), max_length=48)
    table = Table(title="questions that were held out", title_justify="left")
    for column in ("question", "answer", "expected", ""):
        table.add_column(column)
    for question, answer in zip(QUESTIONS, answers, strict=True):
        table.add_row(question, answer, expected[question], "✓" if answer == expected[question] else "✗")
    Console().print(table)
    return answers[0] == expected[QUESTIONS[0]]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TadribError as error:
        from tadrib.ray_jobs.console import print_error

        print_error(error)
        sys.exit(error.exit_code)
