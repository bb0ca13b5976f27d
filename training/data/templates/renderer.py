# SPDX-License-Identifier: Apache-2.0
"""Render chat templates with limits on time and memory: a template is a program written by somebody else.

Jinja's sandbox blocks access to files and the network, but limits neither time nor memory. So templates run in a
separate process, one for each of ours, which is started on first use.
"""

from __future__ import annotations

import atexit
import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from multiprocessing import Pipe
from pathlib import Path
from threading import Lock
from typing import Any

from tadrib.training.data.rows.row_problem import RowError, RowProblem
from tadrib.training.data.templates.chat_formats import CHAT_FORMATS
from tadrib.training.errors import Problem, ResourceError, SpecError

SECONDS = 5.0  # of CPU time per conversation, a thousand times what a normal template needs
MEMORY = 2**30  # bytes
_PROGRAM = Path(__file__).with_name("renderer_process.py")
_KEY = "instruction_template"
_ACTION = (
    "Correct it (chat_template.jinja, or chat_template in tokenizer_config.json), or set "
    f"{_KEY} to the format the model was trained with: {', '.join(CHAT_FORMATS)}."
)
Span = tuple[int, int]


class Renderer:
    """A rendering process, which may be called from several threads."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds, self._memory = seconds, memory
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._template: str | None = None  # the template that the process has already

    def render_all(
        self, template: str, conversations: Sequence[bytes]
    ) -> dict[bytes, tuple[str, list[Span]]]:
        """Render pickled arguments of `render` at once, which takes a fraction of the time of one by one.

        Those that cannot be rendered are not in the result; `render` tells why.
        """
        found = self._answers(template, conversations)
        return {
            conversation: _rendered(answer)
            for conversation, answer in zip(conversations, found, strict=False)
            if "text" in answer
        }

    def render(self, template: str, owner: str, **arguments: Any) -> tuple[str, list[Span]]:
        """Render one conversation with transformers' ``render_jinja_template(chat_template=template, **arguments)``.

        Returns the text, and the spans under generation marks in characters. ``owner`` is the tokenizer that the
        template belongs to, for error messages.

        Raises:
            RowError: the template raised an error, as templates do for conversations they do not support.
            SpecError: it exceeded a limit and was stopped. Other conversations would fare no better.
            ResourceError: the process did not start.
        """
        [answer] = self._answers(template, [pickle.dumps(arguments)])
        if "refuses" in answer:
            message = f"the tokenizer's chat template rejects the conversation: {answer['refuses']}."
            raise RowError(RowProblem("template_refused", "", message, "Correct the order of roles."))
        if "exceeds" in answer:
            (messages,) = arguments["conversations"]
            count = f"{len(messages)} message{'s' if len(messages) > 1 else ''}"
            message = (
                f"the chat template of the tokenizer {owner}, given a conversation of {count}, "
                f"{answer['exceeds']}; it was stopped."
            )
            raise SpecError(_KEY, [Problem(_KEY, message, _ACTION)])
        return _rendered(answer)

    def close(self) -> None:
        """End the process; the next ``render`` starts a new one."""
        if self._process is not None:
            self._channel.close()
            self._process.kill()
            self._process.wait()
            self._process = self._template = None

    def _start(self) -> None:
        self._channel, theirs = Pipe()
        limits = map(str, (theirs.fileno(), self._seconds, self._memory))
        # -P: keeps the program's folder off sys.path, because our module names may shadow other libraries'. A new
        # session: Ctrl-C must reach only us.
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

    def _answers(self, template: str, conversations: Sequence[bytes]) -> list[dict[str, Any]]:
        """The process's answers; just one if it was stopped, whichever conversation it was stopped for."""
        with self._lock:
            if self._process is None:
                self._start()
            return self._exchange(template, conversations)

    def _exchange(self, template: str, conversations: Sequence[bytes]) -> list[dict[str, Any]]:
        assert self._process is not None
        request = pickle.dumps((None if template == self._template else template, conversations))
        try:
            self._channel.send_bytes(request)
            answers: list[dict[str, Any]] = json.loads(self._channel.recv_bytes())
        except (EOFError, OSError):
            code = self._process.wait()
            self.close()
            took = f"needs more than {self._seconds:g} s of CPU time"
            return [{"exceeds": took if code == -signal.SIGPROF else f"ends its process (exit code {code})"}]
        except BaseException:  # interrupted: the pending answer would be taken for that to the next request
            self.close()
            raise
        self._template = None if any("exceeds" in answer for answer in answers) else template
        return answers


def _rendered(answer: dict[str, Any]) -> tuple[str, list[Span]]:
    return answer["text"], [(first, last) for first, last in answer["spans"]]


@cache
def renderer() -> Renderer:
    """The renderer of this process."""
    ours = Renderer()
    atexit.register(ours.close)
    return ours
