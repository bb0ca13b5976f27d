# SPDX-License-Identifier: Apache-2.0
"""Masks: chat templates that would teach nothing, everything, or not to stop are refused before training."""

from __future__ import annotations

from pathlib import Path

import pytest
import trl

from tadrib.training.data.encoding import Encoder
from tadrib.training.data.prepare import prepare_data
from tadrib.training.data.rows.models import parse_row
from tadrib.training.errors import DataError
from tests.data.builders import CHATML, assistant, build_tokenizer, config, user, write_jsonl

CHAT = {"messages": [user("q"), assistant("a"), user("r"), assistant("b")]}


def template(
    assistant_turn: str, user_turn: str = "<|im_start|>user\\n' + m.content + '<|im_end|>\\n"
) -> str:
    """A ChatML template whose assistant turn is written by ``assistant_turn``, in Jinja."""
    return (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\\n' }}"
        + assistant_turn
        + "{% else %}{{ '"
        + user_turn
        + "' }}{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


MARKED_WITH_BREAK = template("{% generation %}{{ m.content + '<|im_end|>\\n' }}{% endgeneration %}")
MARKED = template("{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}")
# As Qwen3's: thinking marks are written into the last assistant turn alone.
CHANGING = template(
    "{% if loop.last %}{{ '<think></think>' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}",
)
FAULTY = {
    "nothing is marked": (
        template("{% generation %}{% endgeneration %}{{ m.content + '<|im_end|>' }}"),
        "no token of the response would be trained on: nothing is marked as the assistant's",
    ),
    "the end is not marked": (
        template("{% generation %}{{ m.content }}{% endgeneration %}{{ '<|im_end|>\\n' }}"),
        r"the end-of-turn token '<\|im_end\|>' would not be trained on: the model would not learn to stop",
    ),
    "turns have no end": (
        template("{{ m.content + '\\n' }}"),
        "rows.jsonl:1: template tokenizer: the response ends with .*, not an end-of-turn token: the model would",
    ),
    "everything is marked": (
        "{% generation %}{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}"
        "{% endgeneration %}",
        "every token would be trained on, including what the user says",
    ),
}


def prepare(tmp_path: Path, chat_template: str, rows: list[dict]) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = config("sft", name, instruction_template="tokenizer")
    prepare_data(settings, "sft", build_tokenizer(chat_template))


@pytest.mark.parametrize("fault", FAULTY)
def test_a_template_with_a_faulty_mask_is_refused(tmp_path: Path, fault: str) -> None:
    chat_template, message = FAULTY[fault]
    with pytest.raises(DataError, match=message) as caught:
        prepare(tmp_path, chat_template, [CHAT])
    assert "Set instruction_template to a named format such as chatml" in str(caught.value)


@pytest.mark.parametrize("chat_template", [CHATML, MARKED, MARKED_WITH_BREAK])
def test_marks_and_the_difference_of_beginnings_give_the_same_mask(chat_template: str) -> None:
    tokenizer = build_tokenizer(chat_template)
    settings = config("sft", instruction_template="tokenizer")
    (completion,) = Encoder(tokenizer, settings, "sft").encode(parse_row("sft", CHAT)).completions
    assert completion.trained is not None
    learnt = [t for t, on in zip(completion.tokens, completion.trained, strict=True) if on]
    assert tokenizer.decode(learnt) == "a<|im_end|>b<|im_end|>"
    assert tokenizer.decode(completion.tokens).endswith("b<|im_end|>")


def test_a_template_that_writes_a_beginning_differently_later_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path, CHANGING, [{"messages": [user("q"), assistant("a")]}])
    with pytest.raises(
        DataError, match="renders the beginning of the conversation differently if more follows"
    ):
        prepare(tmp_path, CHANGING, [CHAT])


def test_a_template_that_leaves_out_what_is_said_is_refused(tmp_path: Path) -> None:
    omitting = "{% for m in messages %}{{ m.role + ':<|im_end|>' }}{% endfor %}"
    with pytest.raises(
        DataError, match=r"rows.jsonl:1: the tokenizer's chat template omits what the user says"
    ):
        prepare(tmp_path, omitting, [CHAT])


def test_a_conversation_that_the_template_refuses_is_a_bad_row(tmp_path: Path) -> None:
    strict = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}" + CHATML
    )
    bad = {"messages": [{"role": "system", "content": "s"}, user("q"), assistant("a")]}
    with pytest.raises(
        DataError, match=r"rows.jsonl:2: the tokenizer's chat template rejects .*: no system messages"
    ):
        prepare(tmp_path, strict, [CHAT, bad])


def test_tool_calls_have_no_form_in_a_named_format(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}
    name = write_jsonl(tmp_path / "rows.jsonl", [CHAT, {"messages": [user("q"), call]}])
    with pytest.raises(
        DataError, match=r":2: messages: the template chatml does not support tool calls.*tokenizer"
    ):
        prepare_data(config("sft", name, instruction_template="chatml"), "sft", build_tokenizer())


CALL = {"type": "function", "function": {"name": "capital", "arguments": {"of": "مصر"}}}
ASKS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
USES_A_TOOL = [user("q"), ASKS, {"role": "tool", "content": "القاهرة"}, assistant("القاهرة")]
FUNCTION = {"type": "function", "function": {"name": "capital", "parameters": {"type": "object"}}}


def learnt(tmp_path: Path, row: dict) -> str:
    """What of a row is learnt under Qwen3's chat template as its makers publish it; TRL carries a copy."""
    official = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text(encoding="utf-8")
    name = write_jsonl(tmp_path / "rows.jsonl", [row])
    settings = config("sft", name, instruction_template="tokenizer", max_seq_length=4096)
    tokenizer = build_tokenizer(official)
    (group,) = prepare_data(settings, "sft", tokenizer).train
    (answer,) = group.completions
    marks = answer.trained if answer.trained is not None else [True] * len(answer.tokens)
    return tokenizer.decode([token for token, mark in zip(answer.tokens, marks, strict=True) if mark])


@pytest.mark.parametrize("tools", [{}, {"tools": [FUNCTION]}], ids=["calls alone", "with tools"])
def test_advice_on_qwen3s_template_and_tool_calls_can_be_followed(tmp_path: Path, tools: dict) -> None:
    """Thinking marks stand in the last turn alone, so the call cannot be learnt beside the answer; and no named format
    has a form for tools. One turn a row is what a server sees."""
    with pytest.raises(
        DataError, match=r'differently if more follows.*Train on one assistant turn per row.*"weight": 0'
    ):
        learnt(tmp_path, {"messages": USES_A_TOOL, **tools})
    first, *rest = USES_A_TOOL
    answer = learnt(tmp_path, {"messages": [first, {**ASKS, "weight": 0}, *rest[1:]], **tools})
    assert answer == "<think>\n\n</think>\n\nالقاهرة<|im_end|>"
    call = learnt(tmp_path, {"messages": USES_A_TOOL[:2], **tools})
    assert call.startswith("<think>\n\n</think>\n\n<tool_call>\n")
    assert call.endswith("</tool_call><|im_end|>")
