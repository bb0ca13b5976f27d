# SPDX-License-Identifier: Apache-2.0
"""The bundled data sets: a training and a held-out file per method, the same bytes on every machine.

    python examples/make_data.py            writes examples/data
    python examples/make_data.py --check    exits 1 and names the files that differ from what it would write

The SFT set prepares for all others: next to the tasks with one right answer it holds every manner that a
preference set tells apart, good and bad equally often. No held-out prompt occurs in any training file.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from arabic.styles import Question, brief, helpful, in_arabic, in_words, polite
from arabic.tasks import Exercise, exercises

DATA = Path(__file__).parent / "data"
SEED = 20
SFT_QUESTIONS_PER_METHOD = 100
PAIRS_PER_QUESTION = 3
UNLIKE_WORDINGS = ((0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1))
COMMON_TO_RARE = (0, 1, 0, 2, 0, 1, 0)

Row = dict[str, Any]


def style_questions() -> dict[str, list[Question]]:
    """The questions of each preference method; what its good and bad manner are, the functions say."""
    return {
        "dpo": list(polite()),
        "kto": list(helpful()),
        "ipo": list(brief()),
        "cpo": list(in_arabic()),
        "simpo": list(in_words()),
    }


def data_sets(seed: int = SEED) -> dict[str, list[Row]]:
    """All rows by file stem: ``sft_train``, ``sft_heldout``, ``dpo_train`` and so on."""
    tasks, styles = exercises(_rng(seed, "tasks")), style_questions()
    files = {
        "sft_train": [*_sft_rows(tasks, held_out=False), *_neutral_rows(styles, seed)],
        "sft_heldout": list(_sft_rows(tasks, held_out=True)),
    }
    pair_rows = {"dpo": _pair, "kto": _verdicts, "ipo": _measured_pair, "cpo": _candidates, "simpo": _pair}
    for method, to_rows in pair_rows.items():
        for name, held_out in (("train", False), ("heldout", True)):
            questions = [question for question in styles[method] if question.held_out is held_out]
            wordings = cycle(UNLIKE_WORDINGS)
            files[f"{method}_{name}"] = [
                row
                for question in questions
                for _ in range(PAIRS_PER_QUESTION)
                for row in to_rows(question, *next(wordings))
            ]
    for stem, rows in files.items():
        _rng(seed, stem).shuffle(rows)
    return files


def _sft_rows(tasks: Iterable[Exercise], held_out: bool) -> Iterator[Row]:
    for exercise in tasks:
        if exercise.held_out is held_out:
            yield {"instruction": exercise.question, "response": exercise.answer}


def _neutral_rows(styles: dict[str, list[Question]], seed: int) -> Iterator[Row]:
    """Each question once in every manner; how common a wording is does not depend on the manner."""
    for method, questions in styles.items():
        known = [question for question in questions if not question.held_out]
        wordings = cycle(COMMON_TO_RARE)
        for question in _rng(seed, f"neutral {method}").sample(known, SFT_QUESTIONS_PER_METHOD):
            for answers in filter(None, (question.preferred, question.dispreferred, question.hard)):
                yield {"instruction": question.prompt, "response": answers[next(wordings)]}


def _pair(question: Question, good: int, bad: int) -> Iterator[Row]:
    yield {
        "prompt": question.prompt,
        "chosen": question.preferred[good],
        "rejected": question.dispreferred[bad],
    }


def _measured_pair(question: Question, good: int, bad: int) -> Iterator[Row]:
    """Lengths are counted in words."""
    for row in _pair(question, good, bad):
        yield row | {f"{key}_length": len(row[key].split()) for key in ("chosen", "rejected")}


def _verdicts(question: Question, good: int, bad: int) -> Iterator[Row]:
    yield {"prompt": question.prompt, "completion": question.preferred[good], "label": True}
    yield {"prompt": question.prompt, "completion": question.dispreferred[bad], "label": False}


def _candidates(question: Question, good: int, bad: int) -> Iterator[Row]:
    yield {
        "prompt": question.prompt,
        "chosen": question.preferred[good],
        "rejected": [answer for place, answer in enumerate(question.dispreferred) if place != good],
        "hard_negatives": [question.hard[bad]],
    }


def _rng(seed: int, purpose: str) -> random.Random:
    return random.Random(f"{seed} {purpose}")


def to_jsonl(rows: Iterable[Row]) -> bytes:
    """UTF-8 JSON lines, Arabic as it is read."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the files; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the bundled data sets under examples/data.")
    parser.add_argument("--check", action="store_true", help="compare the files with what would be written")
    check = parser.parse_args(arguments).check
    contents = {DATA / f"{stem}.jsonl": to_jsonl(rows) for stem, rows in data_sets().items()}
    if check:
        wrong = [
            path for path, content in contents.items() if not path.is_file() or path.read_bytes() != content
        ]
        for path in wrong:
            print(
                f"{path}: differs from what make_data.py writes. Run: python examples/make_data.py",
                file=sys.stderr,
            )
        return 1 if wrong else 0
    DATA.mkdir(exist_ok=True)
    for path, content in contents.items():
        path.write_bytes(content)
        print(f"{path.name}: {len(content.splitlines())} rows, {len(content) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
