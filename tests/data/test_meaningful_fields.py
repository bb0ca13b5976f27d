# SPDX-License-Identifier: Apache-2.0
"""Fields that change what a row means: each is honoured, or refused by name with its row; none vanishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tadrib.training.data.encoding import Encoder
from tadrib.training.data.group import Group
from tadrib.training.data.prepare import prepare_data
from tadrib.training.data.readers.sources import open_source
from tadrib.training.data.rows.models import parse_row
from tadrib.training.errors import DataError
from tests.data.builders import CHATML, assistant, build_tokenizer, config, row, user, write_jsonl

# In the manner of Qwen's: tools in a system turn, calls and reasoning inside the assistant's.
TOOL_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = CHATML.replace(
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}",
    "{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}",
)
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"city": "string"}}},
    {"type": "function", "function": {"name": "sum", "parameters": {"terms": "array"}}},
]


def call(arguments: Any, name: str = "weather") -> dict[str, Any]:
    tool_calls = [{"type": "function", "function": {"name": name, "arguments": arguments}}]
    return {"role": "assistant", "content": "", "tool_calls": tool_calls}


def encode(
    value: dict, chat_template: str = TOOL_TEMPLATE, method: str = "sft", template: str = "tokenizer"
) -> Group:
    tokenizer = build_tokenizer(chat_template)
    return Encoder(tokenizer, config(method, instruction_template=template), method).encode(
        parse_row(method, value)
    )


def texts(group: Group) -> tuple[str, str]:
    """The prompt, and the completion with untrained tokens shown as dots."""
    tokenizer, (completion, *_) = build_tokenizer(), group.completions
    trained = completion.trained or [True] * len(completion.tokens)
    learnt = [tokenizer.decode([t]) if on else "·" for t, on in zip(completion.tokens, trained, strict=True)]
    return tokenizer.decode(group.prompt), "".join(learnt)


@pytest.mark.parametrize("chat_template", [CHATML, MARKED], ids=["by turns", "by marks"])
@pytest.mark.parametrize("template", ["tokenizer", "chatml"])
def test_an_assistant_message_of_weight_0_is_not_learnt(template: str, chat_template: str) -> None:
    def learnt(*weights: int | None) -> tuple[str, str]:
        messages = []
        for index, weight in enumerate(weights):
            messages += [
                user(f"q{index}"),
                assistant(f"a{index}") | ({} if weight is None else {"weight": weight}),
            ]
        prompt, completion = texts(encode({"messages": messages}, chat_template, template=template))
        return prompt, completion.replace("·", "")

    turns = "<|im_start|>user\nq0<|im_end|>\n<|im_start|>assistant\n"
    assert learnt(None, 1) == (turns, "a0<|im_end|>a1<|im_end|>")
    assert learnt(0, 1)[0] == f"{turns}a0<|im_end|>\n<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n"
    assert learnt(0, 1)[1] == "a1<|im_end|>"
    assert learnt(1, 0, 1) == (turns, "a0<|im_end|>a2<|im_end|>")
    assert learnt(1, 0) == (turns, "a0<|im_end|>")


def test_tools_of_a_row_are_written_as_the_template_writes_them() -> None:
    messages = [user("q"), call({"city": "Cairo"})]
    for tools in (TOOLS, json.dumps(TOOLS)):
        prompt, completion = texts(encode({"messages": messages, "tools": tools}))
        tokenizer = build_tokenizer(TOOL_TEMPLATE)
        shown = tokenizer.apply_chat_template(
            messages[:1], tools=TOOLS, tokenize=False, add_generation_prompt=True
        )
        assert prompt == shown
        assert completion == 'weather({"city": "Cairo"})<|im_end|>'
    pair = {"prompt": [user("q")], "chosen": [call({"city": "Cairo"})], "rejected": "no", "tools": TOOLS}
    assert texts(encode(pair, method="dpo"))[0] == shown


@pytest.mark.parametrize("arguments", [{"city": "Cairo"}, '{"city":"Cairo"}'])
def test_arguments_are_a_mapping_unless_the_template_wants_text(arguments: Any) -> None:
    assert (
        texts(encode({"messages": [user("q"), call(arguments)]}))[1] == 'weather({"city": "Cairo"})<|im_end|>'
    )
    wants_text = TOOL_TEMPLATE.replace(
        "{{ c.function.arguments | tojson }}", "{{ '' + c.function.arguments }}"
    )
    group = encode({"messages": [user("q"), call(arguments)]}, wants_text)
    assert texts(group)[1] == 'weather({"city": "Cairo"})<|im_end|>'


def test_fields_that_parquet_fills_in_are_not_there(tmp_path: Path) -> None:
    value = {
        "messages": [user("q"), call({"city": "Cairo"}), user("r"), call({"terms": [1]}, "sum")],
        "tools": TOOLS,
    }
    pq.write_table(pa.Table.from_pylist([value]), tmp_path / "rows.parquet")
    (raw,) = open_source(str(tmp_path / "rows.parquet")).rows
    assert raw.value == value
    assert texts(encode(raw.value)) == texts(encode(value))


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_a_system_column_opens_the_conversation(method: str) -> None:
    plain, _ = texts(encode(row(method), CHATML, method))
    prompt, _ = texts(encode(row(method, system="be kind"), CHATML, method))
    assert prompt == f"<|im_start|>system\nbe kind<|im_end|>\n{plain}"
    assert texts(encode(row(method, system=""), CHATML, method))[0] == plain


THOUGHT = assistant("a") | {"reasoning_content": "because"}


def test_reasoning_is_learnt_where_the_template_has_a_place_for_it() -> None:
    assert texts(encode({"messages": [user("q"), THOUGHT]}))[1] == "<think>because</think>a<|im_end|>"


REFUSED = {
    "a row's weight": (
        "sft",
        row("sft", weight=0.5),
        {},
        "weight: would change what is trained on, but is not supported; found 0.5",
    ),
    "history": (
        "sft",
        row("sft", history=[["a", "b", "c"]]),
        {},
        r"history\[0\]: expected a pair of what the user said and the answer, found \['a', 'b', 'c'\]",
    ),
    "images": ("dpo", row("dpo", images=["a.png"]), {}, "images: would change what is trained on.*text only"),
    "a context": (
        "sft",
        row("sft", context="c"),
        {},
        "context: would change what is trained on.*Rename the column to 'input'",
    ),
    "chat_template_kwargs": (
        "kto",
        row("kto", chat_template_kwargs={"x": 1}),
        {},
        "chat_template_kwargs: would change what",
    ),
    "a message's image": (
        "sft",
        {"messages": [user("q") | {"images": ["a.png"]}, assistant("a")]},
        {},
        r"messages\[0\].images: would change what",
    ),
    "a train flag": (
        "sft",
        {"messages": [user("q"), assistant("a") | {"train": False}]},
        {},
        r'messages\[1\].train: .*give it "weight": 0',
    ),
    "half a weight": (
        "sft",
        {"messages": [user("q"), assistant("a") | {"weight": 0.5}]},
        {},
        r"messages\[1\].weight: expected 0 .* or 1",
    ),
    "a weight of a judged answer": (
        "dpo",
        {"prompt": [user("q")], "chosen": [assistant("a") | {"weight": 0}], "rejected": "b"},
        {},
        "chosen: has .* weight 0",
    ),
    "nothing of weight": (
        "sft",
        {"messages": [user("q"), assistant("a") | {"weight": 0}]},
        {},
        "messages: every assistant message has weight 0",
    ),
    "two forms": (
        "sft",
        row("sft", messages=[user("q"), assistant("a")]),
        {},
        "messages: is given together with instruction",
    ),
    "two systems": (
        "sft",
        {"messages": [{"role": "system", "content": "s"}, user("q"), assistant("a")], "system": "t"},
        {},
        "system: is given although",
    ),
    "reasoning in a named format": (
        "sft",
        {"messages": [user("q"), THOUGHT]},
        {"instruction_template": "chatml"},
        "chatml does not support reasoning_content",
    ),
    "tools in a named format": (
        "sft",
        {"messages": [user("q"), assistant("a")], "tools": TOOLS},
        {"instruction_template": "chatml"},
        "chatml does not support tools",
    ),
    "reasoning that the template leaves out": (
        "sft",
        {"messages": [user("q"), THOUGHT]},
        {},
        r"chat template omits the assistant's reasoning_content \('because'\)",
    ),
    "a call that the template leaves out": (
        "sft",
        {"messages": [user("q"), call({}) | {"content": "weather"}]},
        {},
        "omits a call of the tool weather",
    ),
    "tools that the template leaves out": (
        "sft",
        {"messages": [user("weather sum"), assistant("a")], "tools": TOOLS},
        {},
        "omits the tool weather",
    ),
    "arguments that are no JSON": (
        "sft",
        {"messages": [user("q"), call("{city")]},
        {},
        r"messages\[1\].tool_calls\[0\].arguments: is text but not valid JSON",
    ),
    "tools that are no list": (
        "sft",
        row("sft", tools={"a": 1}),
        {},
        "tools: expected a list of tools, found",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path: Path, case: str) -> None:
    method, value, fields, message = REFUSED[case]
    good = row(method, label=False) if method == "kto" else row(method)
    name = write_jsonl(tmp_path / "rows.jsonl", [good, value])
    with pytest.raises(DataError, match=f"rows.jsonl:2: .*{message}"):
        prepare_data(config(method, name, **fields), method, build_tokenizer())


def test_a_template_without_a_place_for_the_system_message_is_refused(tmp_path: Path) -> None:
    silent = "{% for m in messages if m.role != 'system' %}" + CHATML.split("%}", 1)[1]
    name = write_jsonl(tmp_path / "rows.jsonl", [row("sft", system="be kind")])
    with pytest.raises(DataError, match=r":1: the tokenizer's chat template omits what the system says"):
        prepare_data(config("sft", name, instruction_template="tokenizer"), "sft", build_tokenizer(silent))


def test_columns_and_values_that_say_nothing_are_left_alone() -> None:
    harmless = {"weight": 1.0, "history": [], "images": None, "id": 7, "score_chosen": 0.5}
    assert encode(row("sft") | harmless) == encode(row("sft"))
