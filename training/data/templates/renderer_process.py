# SPDX-License-Identifier: Apache-2.0
"""The process that renders chat templates, under limits enforced by the operating system. Started by ``renderer.py``.

A standalone program that imports none of our modules: `PROGRAM DESCRIPTOR SECONDS BYTES`. It reads pickled requests
from the socket `DESCRIPTOR` and answers each in JSON, so that a template can return nothing but text.
"""

from __future__ import annotations

import json
import pickle
import resource
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

# Limit on the output: a template copies the conversation, parts of it several times, and adds its own instructions.
_OWN_CHARACTERS, _COPIES = 1_000_000, 10
_REASON_CHARACTERS = 1000


def serve(channel: Connection, seconds: float, memory: int) -> None:
    """Answer requests until the other side closes the socket, which raises EOFError or OSError. A request has a
    template, or None for the one before, and any number of pickled conversations; the answer is a list.

    ``seconds`` is the CPU time for one conversation, after which SIGPROF kills the process, even in C code; ``memory``
    is the limit in force, in bytes.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    template = ""
    channel.send_bytes(b"")  # ready
    while True:
        changed, conversations = pickle.loads(channel.recv_bytes())
        template = template if changed is None else changed
        answers = []
        for content in conversations:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            try:
                most = _OWN_CHARACTERS + _COPIES * len(content)
                answers.append(json.dumps(_render(template, pickle.loads(content), most)))
            except MemoryError:
                answers.append(json.dumps({"exceeds": f"needs more than {memory >> 20:,} MiB of memory"}))
            except RecursionError:
                answers.append(json.dumps({"exceeds": "recurses without end"}))
            signal.setitimer(signal.ITIMER_PROF, 0)
        channel.send_bytes(f"[{','.join(answers)}]".encode("ascii"))


def _render(template: str, arguments: dict[str, Any], most: int) -> dict[str, Any]:
    try:
        written: Any = render_jinja_template(chat_template=template, **arguments)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # a template is a program and can raise anything
        return {"refuses": str(error)[:_REASON_CHARACTERS]}
    (text,), spans = written
    if len(text) > most:
        return {"exceeds": f"writes {len(text):,} characters"}
    return {"text": text, "spans": spans[0] if spans else []}


def limit_memory(size: int) -> None:
    """Allow this process ``size`` more bytes of address space than it has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    # deep enough for everything that the other side can pickle
    sys.setrecursionlimit(3 * sys.getrecursionlimit())
    descriptor, cpu_seconds, size = sys.argv[1:]
    limit_memory(int(size))
    with suppress(EOFError, OSError):
        serve(Connection(int(descriptor)), float(cpu_seconds), int(size))
