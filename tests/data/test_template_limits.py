# SPDX-License-Identifier: Apache-2.0
"""A chat template that takes too much time or memory is stopped and told; an honest one writes what it always did."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from tadrib.training.data.encoding import Encoded, Encoder
from tadrib.training.data.generation import encode_prompt
from tadrib.training.data.rows.models import parse_row
from tadrib.training.data.templates.renderer import Renderer
from tadrib.training.data.templates.template_change import template_change
from tadrib.training.errors import SpecError
from tests.data.builders import CHATML, assistant, build_tokenizer, config, user

ROW = {"messages": [user("q"), assistant("a")]}
MEMORY = 2**27
LOOPS = "{% for i in range(10**5) %}" * 4 + "{% endfor %}" * 4
HOSTILE = {
    LOOPS: "needs more than 0.5 s of CPU time",
    "{{ (7 ** (10 ** 9)) % 2 }}": "needs more than 0.5 s of CPU time",  # in C, where Python sees no signal
    "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}": "needs more than",
    "{{ 'a' * 10 ** 10 }}": "needs more than 128 MiB of memory",
    "{{ 'a' | center(10 ** 10) }}": "needs more than 128 MiB of memory",
    "{{ '%09999999999d' % 1 }}": "needs more than 128 MiB of memory",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "recurses without end",
    "{{ 'a' * 2000000 }}": "writes 2,000,051 characters",
    "{{ raise_exception([messages[0].content * 4 * 10 ** 7] * 9) }}": "needs more than 128 MiB of memory",
}


@pytest.fixture(scope="module")
def limited() -> Iterator[Renderer]:
    renderer = Renderer(seconds=0.5, memory=MEMORY)
    yield renderer
    renderer.close()


@pytest.fixture(autouse=True)
def _limits(limited: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tadrib.training.data.templates.tokenizer_template.renderer", lambda: limited)


def most_memory() -> int:
    """Bytes that the rendering process ever held."""
    (process,) = (p for p in psutil.Process().children() if p.cmdline()[-1:] == [str(MEMORY)])
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines()
    )
    return int(status["VmHWM"].split()[0]) * 1024


@pytest.mark.parametrize(("template", "said"), HOSTILE.items())
def test_a_template_past_a_limit_ends_the_preparation(template: str, said: str) -> None:
    tokenizer = build_tokenizer(CHATML + template)
    tokenizer.name_or_path = "models/brought"
    encoder = Encoder(tokenizer, config("sft", instruction_template="tokenizer"), "sft")
    dialogue = parse_row("sft", ROW).dialogue
    with pytest.raises(SpecError) as caught:
        encoder.encode_batch([(number, dialogue) for number in range(3)])
    (problem,) = caught.value.problems
    assert problem.where == "instruction_template"
    assert "of the tokenizer models/brought, given a conversation of 1 message, " + said in problem.message
    assert "set instruction_template to the format the model was trained with: chatml, " in problem.action
    honest = Encoder(build_tokenizer(), config("sft", instruction_template="tokenizer"), "sft")
    assert honest.encode(dialogue).completions
    assert most_memory() < MEMORY + 2**27  # with what the interpreter and the libraries take


def test_generation_is_bound_by_the_same_limits() -> None:
    tokenizer = build_tokenizer(CHATML + "{{ 'a' * 10 ** 10 }}")
    settings = config("sft", instruction_template="tokenizer")
    with pytest.raises(SpecError, match="needs more than 128 MiB of memory"):
        encode_prompt([user("q")], settings, tokenizer)


def test_a_template_that_is_not_used_stops_nothing() -> None:
    tokenizer = build_tokenizer(CHATML + "{{ 'a' * 10 ** 10 }}")
    assert "renders prompts differently" in template_change(
        config("sft", instruction_template="chatml"), tokenizer
    )


@pytest.mark.parametrize(("depth", "is_written"), [(400, True), (900, False)])
def test_a_row_that_is_nested_too_deeply_is_bad_and_the_template_is_not(depth: int, is_written: bool) -> None:
    arguments: dict[str, object] = {"city": "q"}
    for _ in range(depth):
        arguments = {"a": arguments}
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    row = {"messages": [user("q"), {"role": "assistant", "content": "", "tool_calls": [call]}]}
    template = CHATML + "{% for m in messages if m.tool_calls %}{{ m.tool_calls | tojson }}{% endfor %}"
    encoder = Encoder(build_tokenizer(template), config("sft", instruction_template="tokenizer"), "sft")
    (encoded,) = encoder.encode_batch([(0, parse_row("sft", row).dialogue)])
    assert isinstance(encoded, Encoded) == is_written
    assert is_written or "is nested too deeply" in str(encoded)


@pytest.mark.parametrize("announce", [True, False])
def test_an_honest_template_writes_what_transformers_writes(limited: Renderer, announce: bool) -> None:
    trl = find_spec("trl")
    assert trl is not None
    assert trl.origin is not None
    qwen = (Path(trl.origin).parent / "chat_templates" / "qwen3.jinja").read_text(encoding="utf-8")
    function = {"name": "طقس", "description": "a\ud83d", "parameters": {"type": "object", "properties": {}}}
    call = {"type": "function", "function": {"name": "طقس", "arguments": {"city": "القاهرة", "days": 2.5}}}
    messages = [user("q " * 100_000), {"role": "assistant", "content": "", "tool_calls": [call]}, user("r")]
    tools = [{"type": "function", "function": function}]
    written = limited.render(qwen, "", conversations=[messages], tools=tools, add_generation_prompt=announce)
    expected = build_tokenizer(qwen).apply_chat_template(
        messages, tools=tools, add_generation_prompt=announce, tokenize=False
    )
    assert written == (expected, [])


def test_threads_get_each_its_own_text(limited: Renderer) -> None:
    def write(number: int) -> str:
        return limited.render(f"{number}: {{{{ messages[0].content }}}}", "", conversations=[[user("q")]])[0]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(40))) == [f"{number}: q" for number in range(40)]


def test_what_an_interrupted_conversation_was_to_say_is_not_taken_for_the_next(limited: Renderer) -> None:
    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    chats = [[user("q")]]
    assert limited.render("before", "", conversations=chats)[0] == "before"
    handler = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            limited.render(LOOPS, "", conversations=chats)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert limited.render("after", "", conversations=chats)[0] == "after"


def test_the_process_ends_without_a_word_when_ours_is_killed() -> None:
    program = (
        "import os, signal, threading; from tadrib.training.data.templates.renderer import renderer\n"
        "renderer().render('a', '', conversations=[[]])\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
        "while True: renderer().render('a', '', conversations=[[]])"
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
