# SPDX-License-Identifier: Apache-2.0
"""User-facing errors: where, what was found, the rule and the next action, with one exit code per kind.

Credentials are redacted from every error text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tadrib.training.redaction import redact


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong and what to do about it.

    ``where`` is the path the user typed (``resources.num_workers``, ``data/dpo.jsonl:17: chosen``),
    ``message`` states the rule and the value found, ``action`` the next step, ``rule`` the name of the
    function that found it (empty for type and range checks).
    """

    where: str
    message: str
    action: str = ""
    rule: str = ""

    def __str__(self) -> str:
        # a quoted library message may already end with a full stop
        message = re.sub(r"(?<!\.)\.\.$", ".", self.message)
        text = f"{self.where}: {message}" if self.where else message
        if self.action:
            text += f" {self.action}"
        return redact(f"{text}   [rule: {self.rule}]" if self.rule else text)


class TadribError(Exception):
    """Base of every user-facing error: a title, all problems found, and the exit code of its kind."""

    exit_code = 1

    def __init__(self, title: str, problems: Sequence[Problem] = ()) -> None:
        self.title = title
        self.problems = tuple(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        if not self.problems:
            return redact(self.title)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        return "\n".join([f"{redact(self.title)}: {count}", *(f"  {problem}" for problem in self.problems)])

    def __reduce__(self) -> tuple:
        return type(self), (self.title, self.problems)


class SpecError(TadribError):
    """The spec or a config value is refused; nothing was started."""

    exit_code = 2


class DataError(TadribError):
    """The dataset is refused; nothing was started."""

    exit_code = 2


class ResourceError(TadribError):
    """The machine or cluster lacks what the spec asks for (workers, memory, disk, a device)."""

    exit_code = 2


class TrainingError(TadribError):
    """Training started and failed."""

    exit_code = 1


class ClusterError(TadribError):
    """The Ray cluster cannot be reached or refused us."""

    exit_code = 3


class StoppedError(TadribError):
    """The run was stopped on request; it can be resumed."""

    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most similar to ``word``; None if nothing is close (difflib ratio below 0.6).

    Case is ignored, and ``-`` equals ``_``.
    """
    folded = {_fold(each): each for each in known}
    matches = difflib.get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def clip(text: str, most: int = 60) -> str:
    """``text`` cut to ``most`` characters; NUL and lone surrogates, which are not valid UTF-8, are escaped."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return text if len(text) <= most else f"{text[: most - 3]}..."


_MOST_NAMED = 20


def named(names: Iterable[object]) -> str:
    """The first twenty of ``names``, each clipped, and the number of the others."""
    words = [clip(str(name)) for name in names]
    more = f" and {len(words) - _MOST_NAMED:,} more" if len(words) > _MOST_NAMED else ""
    return f"{', '.join(words[:_MOST_NAMED])}{more}"


def _fold(word: str) -> str:
    return word.casefold().replace("-", "_")
