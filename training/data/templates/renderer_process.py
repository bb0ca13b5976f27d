# SPDX-License-Identifier: Apache-2.0
"""The process that renders chat templates, under limits that the system enforces. The renderer
beside it starts it.

A program of its own, which imports nothing of ours: `PROGRAM DESCRIPTOR SECONDS BYTES`. It reads pickled requests
from the socket `DESCRIPTOR` and answers each in JSON, whose texts are all that the other side takes from a template.
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

# A template copies what a conversation says, some of it several times, and adds instructions of its own.
_OWN_CHARACTERS, _COPIES = 1_000_000, 10
_REASON_CHARACTERS = 1000


def serve(channel: Connection, seconds: float, memory: int) -> None:
    """Answer requests until the other side hangs up, which raises EOFError or OSError.

    ``seconds`` of processor time for one request, after which SIGPROF ends the process even where it runs C code;
    ``memory`` is the limit that stands, in bytes.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    template = ""
    channel.send_bytes(b"")  # ready
    while True:
        request = channel.recv_bytes()
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            changed, arguments = pickle.loads(request)
            template = template if changed is None else changed
            answer = json.dumps(_render(template, arguments, _OWN_CHARACTERS + _COPIES * len(request)))
        except MemoryError:
            answer = json.dumps({"exceeds": f"needs more than {memory >> 20:,} MiB of memory"})
        except RecursionError:
            answer = json.dumps({"exceeds": "calls itself without end"})
        channel.send_bytes(answer.encode("ascii"))
        signal.setitimer(signal.ITIMER_PROF, 0)


def _render(template: str, arguments: dict[str, Any], most: int) -> dict[str, Any]:
    try:
        written: Any = render_jinja_template(chat_template=template, **arguments)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # a template is a program, and may fail in any way
        return {"refuses": str(error)[:_REASON_CHARACTERS]}
    (text,), spans = written
    if len(text) > most:
        return {"exceeds": f"writes {len(text):,} characters"}
    return {"text": text, "spans": spans[0] if spans else []}


def limit_memory(size: int) -> None:
    """Let this process take ``size`` bytes of address space more than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    # enough to walk through whatever the other side can pickle
    sys.setrecursionlimit(3 * sys.getrecursionlimit())
    descriptor, cpu_seconds, size = sys.argv[1:]
    limit_memory(int(size))
    with suppress(EOFError, OSError):
        serve(Connection(int(descriptor)), float(cpu_seconds), int(size))
