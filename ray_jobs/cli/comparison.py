# SPDX-License-Identifier: Apache-2.0
"""`tadrib compare`: answers of a finished run's model beside those of its reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tadrib.ray_jobs.runs.lookup import find
from tadrib.ray_jobs.runs.reading import read_status
from tadrib.training.config import load_spec
from tadrib.training.config.yaml.text_file import read_bytes
from tadrib.training.errors import Problem, SpecError
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.files import RunFiles
from tadrib.training.run.names import FINAL

_MAX_BYTES = 10_000_000
COLUMNS = {
    "prompt": "prompt",
    "trained_model_response": "trained",
    "reference_model_response": "reference",
}


def compare_run(run: str, prompts: Sequence[str], max_length: int) -> list[dict[str, str]]:
    """Rows of ``prompt``, ``trained_model_response`` and ``reference_model_response``.

    ``run`` is a directory, a URL, or a name under ``./runs``, as for `tadrib status`.

    Raises SpecError if it is not a finished run, or there are no prompts.
    """
    files = find(run)
    if not prompts:
        action = "Give --prompt TEXT, once or more, or --file with one prompt a line."
        raise SpecError("nothing to compare", [Problem("--prompt", "no prompt was given.", action)])
    if not files.sizes(FINAL):
        raise SpecError("the run cannot be compared", [_no_model(run, files)])
    directory = RunDirectory(files.location)
    directory.pull()
    if damage := directory.download_final():
        problem = Problem("RUN", f"{run}: {damage}.", "Start the run again to restore its weights.")
        raise SpecError("the run cannot be compared", [problem])
    from tadrib.training.trainers import create_trainer

    spec = load_spec(directory.spec_file)
    config = spec.config.replace(strategy="ddp", deepspeed=None)  # a single process has nothing to shard
    trainer = create_trainer(spec.method, config)
    trainer.load_model(directory.final)
    return trainer.compare(prompts, max_length=max_length)


def _no_model(run: str, files: RunFiles) -> Problem:
    status = read_status(files)
    if status.state == "missing":
        action = f"Did you mean {status.nearest}?" if status.nearest else "`tadrib list` lists the runs here."
        return Problem("RUN", f"{run} is not a run.", action)
    action = "It can be compared when it has finished."
    if status.resume:
        action = f"Finish it with `{status.resume}`."
    return Problem("RUN", f"{run} has no final/ folder: {status.sentence}.", action)


def read_prompts(file: Path) -> list[str]:
    """The prompts of a file, one a line, without blank lines. Raises SpecError if it cannot be read."""
    try:
        lines = read_bytes(file, _MAX_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"{file}:{line} is not UTF-8: byte 0x{error.object[error.start]:02x}."
        raise _unreadable(message, "Save the file as UTF-8.") from error
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}."
        raise _unreadable(message, "Give --file a text file with one prompt a line.") from error
    return [line for line in lines if line.strip()]


def _unreadable(message: str, action: str) -> SpecError:
    return SpecError("the prompts cannot be read", [Problem("--file", message, action)])


def print_comparison(rows: list[dict[str, str]], form: str) -> None:
    """``form`` is ``table``, ``markdown`` or ``json``."""
    if form == "json":
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    if form == "markdown":
        print("| " + " | ".join(COLUMNS.values()) + " |")
        print("|---" * len(COLUMNS) + "|")
        for row in rows:
            print("| " + " | ".join(_cell(row[key]) for key in COLUMNS) + " |")
        return
    table = Table(show_lines=True)
    for heading in COLUMNS.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[key]) for key in COLUMNS))
    Console().print(table)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
