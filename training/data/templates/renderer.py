# SPDX-License-Identifier: Apache-2.0
"""Renders chat templates within limits of time and memory: a template is a program that somebody else wrote.

Jinja's sandbox keeps it from files and the network, and bounds neither. So it runs in a process of its own, one for
each of ours, started when first needed.
"""

from __future__ import annotations

import atexit
import json
import pickle
import signal
import subprocess
import sys
from functools import cache
from multiprocessing import Pipe
from pathlib import Path
from threading import Lock
from typing import Any

from tadrib.training.data.rows.row_problem import RowError, RowProblem
from tadrib.training.data.templates.chat_formats import CHAT_FORMATS
from tadrib.training.errors import Problem, ResourceError, SpecError

SECONDS = 5.0  # of processor time for one conversation, of which an honest template takes a thousandth
MEMORY = 2**30  # bytes
_PROGRAM = Path(__file__).with_name("renderer_process.py")
_KEY = "instruction_template"
_ACTION = (
    "Correct it (chat_template.jinja, or chat_template in tokenizer_config.json), or set "
    f"{_KEY} to the format the model was trained with: {', '.join(CHAT_FORMATS)}."
)
Span = tuple[int, int]


class Renderer:
    """A process that renders; one conversation at a time, whichever threads ask."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds, self._memory = seconds, memory
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._template: str | None = None  # what the process has

    def render(self, template: str, owner: str, **arguments: Any) -> tuple[str, list[Span]]:
        """The text that transformers' ``render_jinja_template(chat_template=template, **arguments)`` gives for its
        one conversation, and the spans under generation marks, in characters.

        ``owner`` is the tokenizer that brought the template, for the error.

        Raises:
            RowError: the template raised an error, as templates do for conversations they have no form for.
            SpecError: it passed a limit and was stopped. Other conversations would fare no better.
            ResourceError: the process did not start.
        """
        with self._lock:
            if self._process is None:
                self._start()
            answer = self._answer(template, arguments)
        if "refuses" in answer:
            message = f"the tokenizer's chat template refuses the conversation: {answer['refuses']}."
            raise RowError(RowProblem("template_refused", "", message, "Correct the order of roles."))
        if "exceeds" in answer:
            (messages,) = arguments["conversations"]
            count = f"{len(messages)} message{'s' if len(messages) > 1 else ''}"
            message = (
                f"the chat template of the tokenizer {owner}, given a conversation of {count}, "
                f"{answer['exceeds']}; it was stopped."
            )
            raise SpecError(_KEY, [Problem(_KEY, message, _ACTION)])
        return answer["text"], [(first, last) for first, last in answer["spans"]]

    def close(self) -> None:
        """End the process; a later ``render`` starts another."""
        if self._process is not None:
            self._channel.close()
            self._process.kill()
            self._process.wait()
            self._process = self._template = None

    def _start(self) -> None:
        self._channel, theirs = Pipe()
        limits = map(str, (theirs.fileno(), self._seconds, self._memory))
        # -P: the program's folder holds our modules, whose names other libraries may have as well. A session of its
        # own: Ctrl-C is for us to answer.
        command = [sys.executable, "-P", str(_PROGRAM), *limits]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
        try:
            self._channel.recv_bytes()
        except (EOFError, OSError) as error:
            code = self._process.wait()
            self.close()
            message = f"The process that renders chat templates could not start (exit code {code})."
            raise ResourceError(message) from error

    def _answer(self, template: str, arguments: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        request = pickle.dumps((None if template == self._template else template, arguments))
        try:
            self._channel.send_bytes(request)
            answer: dict[str, Any] = json.loads(self._channel.recv_bytes())
        except (EOFError, OSError):
            code = self._process.wait()
            self.close()
            took = f"needs more than {self._seconds:g} s of processor time"
            return {"exceeds": took if code == -signal.SIGPROF else f"ends its process (exit code {code})"}
        except BaseException:  # interrupted: the answer that is still to come would be taken for the next one
            self.close()
            raise
        self._template = None if "exceeds" in answer else template
        return answer


@cache
def renderer() -> Renderer:
    """That of this process."""
    ours = Renderer()
    atexit.register(ours.close)
    return ours
