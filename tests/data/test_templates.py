# SPDX-License-Identifier: Apache-2.0
"""Templates: the exact text of prompts and answers, BOS and EOS once, and what generation starts from."""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tadrib.training.data.encoding import Encoder
from tadrib.training.data.generation import encode_prompt, stop_token_ids
from tadrib.training.data.group import Group
from tadrib.training.data.rows.dialogue import Answer, Dialogue
from tadrib.training.data.rows.models import CPORow, parse_row
from tadrib.training.data.templates.choice import Templates
from tadrib.training.data.templates.renderer import Renderer
from tadrib.training.errors import SpecError
from tests.data.builders import CHATML, assistant, build_tokenizer, config, row, user

SYSTEM = {"role": "system", "content": "be kind"}
CHAT = {"messages": [SYSTEM, user("q"), assistant("a"), user("r"), assistant("b")]}
WITH_BOS = "{{ bos_token }}" + CHATML


def encode(value: dict, tokenizer: PreTrainedTokenizerFast, **fields: object) -> tuple[str, str, str]:
    """Decoded prompt, completion, and the completion with untrained tokens shown as dots."""
    group = Encoder(tokenizer, config("sft", **fields), "sft").encode(parse_row("sft", value))
    return decoded(group, tokenizer)


def decoded(group: Group, tokenizer: PreTrainedTokenizerFast) -> tuple[str, str, str]:
    (completion,) = group.completions
    trained = completion.trained or [True] * len(completion.tokens)
    learnt = [tokenizer.decode([t]) if on else "·" for t, on in zip(completion.tokens, trained, strict=True)]
    return tokenizer.decode(group.prompt), tokenizer.decode(completion.tokens), "".join(learnt)


@pytest.mark.parametrize(
    ("template", "prompt", "answer"),
    [
        (
            "alpaca",
            "Below is an instruction that describes a task. Write a response that appropriately completes "
            "the request.\n\n### Instruction:\ni\n\n### Response:\n",
            "r<|endoftext|>",
        ),
        ("plain", "i", "r<|endoftext|>"),
        ("chatml", "<|im_start|>user\ni<|im_end|>\n<|im_start|>assistant\n", "r<|im_end|>"),
        ("qwen", "<|im_start|>user\ni<|im_end|>\n<|im_start|>assistant\n", "r<|im_end|>"),
        ("tokenizer", "<|im_start|>user\ni<|im_end|>\n<|im_start|>assistant\n", "r<|im_end|>"),
        (
            "llama3",
            "<|start_header_id|>user<|end_header_id|>\n\ni<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            "r<|eot_id|>",
        ),
        ("gemma", "<start_of_turn>user\ni<end_of_turn>\n<start_of_turn>model\n", "r<end_of_turn>"),
    ],
)
def test_an_instruction_is_written_as_its_template_says(template: str, prompt: str, answer: str) -> None:
    tokenizer = build_tokenizer()
    settings = config("sft", instruction_template=template)
    written = encode({"instruction": "i", "response": "r"}, tokenizer, instruction_template=template)
    assert written == (prompt, answer, answer)
    assert tokenizer.decode(encode_prompt("i", settings, tokenizer)) == prompt


def test_an_input_is_written_where_the_template_has_a_place_for_it() -> None:
    value = {"instruction": "i", "input": "x", "response": "r"}
    alpaca, _, _ = encode(value, build_tokenizer(), instruction_template="alpaca")
    assert "paired with an input that provides further context." in alpaca
    assert alpaca.endswith("### Instruction:\ni\n\n### Input:\nx\n\n### Response:\n")
    plain, _, _ = encode(value, build_tokenizer(), instruction_template="plain")
    assert plain == "i\n\nx"
    chatml, _, _ = encode(value, build_tokenizer(), instruction_template="chatml")
    assert chatml.startswith("<|im_start|>user\ni\n\nx<|im_end|>")


def test_the_response_template_is_the_header_of_alpaca() -> None:
    prompt, _, _ = encode(
        {"instruction": "i", "response": "r"}, build_tokenizer(), response_template="### الجواب:\n"
    )
    assert prompt.endswith("### Instruction:\ni\n\n### الجواب:\n")


@pytest.mark.parametrize(
    ("template", "prompt", "learnt"),
    [
        (
            "chatml",
            "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
            "a<|im_end|>{}b<|im_end|>",
        ),
        (
            "tokenizer",
            "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
            "a<|im_end|>{}b<|im_end|>",
        ),
        (
            "llama3",
            "<|start_header_id|>system<|end_header_id|>\n\nbe kind<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "a<|eot_id|>{}b<|eot_id|>",
        ),
        (
            "gemma",
            "<start_of_turn>user\nbe kind\n\nq<end_of_turn>\n<start_of_turn>model\n",
            "a<end_of_turn>{}b<end_of_turn>",
        ),
    ],
)
def test_every_assistant_turn_is_learnt_with_its_end_and_nothing_else(
    template: str, prompt: str, learnt: str
) -> None:
    written, completion, shown = encode(CHAT, build_tokenizer(), instruction_template=template)
    first, second = learnt.split("{}")
    assert written == prompt
    assert completion.startswith(first)
    assert completion.endswith(second)
    assert "user" in completion.removeprefix(first).removesuffix(second)
    assert shown.startswith(first + "·")
    assert shown.endswith("·" + second)
    assert set(shown.removeprefix(first).removesuffix(second)) == {"·"}


@pytest.mark.parametrize(
    ("template", "shipped"),
    [("llama3", "llama3"), ("gemma", "gemma3"), ("chatml", "qwen2_5"), ("qwen", "qwen2_5")],
)
def test_a_named_format_writes_what_the_models_own_template_writes(template: str, shipped: str) -> None:
    trl = find_spec("trl")
    assert trl is not None
    assert trl.origin is not None
    own = (Path(trl.origin).parent / "chat_templates" / f"{shipped}.jinja").read_text(encoding="utf-8")
    tokenizer = build_tokenizer(own, adds_bos=template in ("llama3", "gemma"))
    for messages in (CHAT["messages"], [SYSTEM, user(" q "), assistant("a")]):
        row = parse_row("sft", {"messages": messages})
        named = Encoder(tokenizer, config("sft", instruction_template=template), "sft").encode(row)
        shipped_with = Encoder(tokenizer, config("sft", instruction_template="tokenizer"), "sft").encode(row)
        assert named == shipped_with


def test_the_tokenizers_template_gives_the_tokens_that_transformers_gives() -> None:
    tokenizer = build_tokenizer(WITH_BOS, adds_bos=True)
    group = Encoder(tokenizer, config("sft", instruction_template="tokenizer"), "sft").encode(
        parse_row("sft", CHAT)
    )
    whole = tokenizer.apply_chat_template(CHAT["messages"], return_dict=True)["input_ids"]
    line_break = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert group.prompt + group.completions[0].tokens + line_break == whole


def test_conversations_under_alpaca_take_the_tokenizers_template() -> None:
    prompt, answer, _ = encode({"messages": [user("q"), assistant("a")]}, build_tokenizer())
    assert (prompt, answer) == ("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", "a<|im_end|>")
    tokenizer, settings = build_tokenizer(), config("sft")
    assert tokenizer.decode(encode_prompt([user("q")], settings, tokenizer)) == prompt


@pytest.mark.parametrize("template", ["alpaca", "plain", "tokenizer"])
def test_conversations_without_any_chat_template_say_what_to_set(template: str) -> None:
    message = "has no chat template.*Set instruction_template to the format .*: chatml, qwen, llama3, gemma"
    with pytest.raises(SpecError, match=message):
        encode(
            {"messages": [user("q"), assistant("a")]}, build_tokenizer(None), instruction_template=template
        )


def test_a_format_whose_marks_are_no_tokens_is_refused() -> None:
    tokenizer = build_tokenizer(chat_tokens=False)
    with pytest.raises(SpecError, match=r"chatml needs <\|im_start\|>, <\|im_end\|> as single tokens"):
        Templates(config("sft", instruction_template="chatml"), tokenizer)


@pytest.mark.parametrize(
    ("adds_bos", "chat_template", "template", "count"),
    [
        (False, CHATML, "plain", 0),
        (True, CHATML, "plain", 1),
        (True, CHATML, "alpaca", 1),
        (True, CHATML, "chatml", 1),
        (True, CHATML, "llama3", 1),
        (True, CHATML, "gemma", 1),
        (True, WITH_BOS, "tokenizer", 1),
        (True, CHATML, "tokenizer", 0),
    ],
)
def test_there_is_one_bos_token_or_none(
    adds_bos: bool, chat_template: str, template: str, count: int
) -> None:
    tokenizer = build_tokenizer(chat_template, adds_bos=adds_bos)
    encoder = Encoder(tokenizer, config("sft", instruction_template=template), "sft")
    prompt = encoder.encode(Dialogue("i", (Answer("response", "r"),))).prompt
    assert encode_prompt("i", config("sft", instruction_template=template), tokenizer) == prompt
    assert prompt.count(tokenizer.convert_tokens_to_ids("<bos>")) == count
    assert prompt[:count] == [tokenizer.convert_tokens_to_ids("<bos>")] * count


def test_a_bos_token_in_the_text_is_not_doubled() -> None:
    tokenizer = build_tokenizer(adds_bos=True)
    encoder = Encoder(tokenizer, config("sft", instruction_template="plain"), "sft")
    prompt = encoder.encode(Dialogue("<bos>i", (Answer("response", "r"),))).prompt
    assert tokenizer.decode(prompt) == "<bos>i"


def test_an_eos_token_in_the_text_is_not_doubled() -> None:
    _, answer, _ = encode({"instruction": "i", "response": "r<|endoftext|>"}, build_tokenizer())
    assert answer == "r<|endoftext|>"


def test_the_prompt_of_generation_is_normalised_like_the_data() -> None:
    tokenizer = build_tokenizer()
    settings = config("sft", instruction_template="plain", text_normalization=["diacritics", "tatweel"])
    assert tokenizer.decode(encode_prompt("كَتَـــبَ", settings, tokenizer)) == "كتب"


def test_generation_stops_at_eos_and_at_the_end_of_a_turn() -> None:
    tokenizer = build_tokenizer()

    def stops(template: str, chat: bool = False) -> set[str]:
        settings = config("sft", instruction_template=template)
        return set(tokenizer.convert_ids_to_tokens(stop_token_ids(settings, tokenizer, chat)))

    assert stops("alpaca") == {"<|endoftext|>"}
    assert stops("alpaca", chat=True) == {"<|endoftext|>", "<|im_end|>"}
    assert stops("gemma") == {"<|endoftext|>", "<end_of_turn>"}


def test_several_answers_share_one_prompt_and_keep_their_roles() -> None:
    tokenizer = build_tokenizer()
    value = {"prompt": "p", "chosen": "a", "rejected": ["b", "c"], "hard_negatives": ["d"]}
    group = Encoder(tokenizer, config("cpo"), "cpo").encode(parse_row("cpo", value), number=7)
    assert [(c.role, tokenizer.decode(c.tokens)) for c in group.completions] == [
        ("chosen", "a<|endoftext|>"),
        ("rejected", "b<|endoftext|>"),
        ("rejected", "c<|endoftext|>"),
        ("hard_negative", "d<|endoftext|>"),
    ]
    assert (group.row, tokenizer.decode(group.prompt)) == (7, "p")


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=build_tokenizer().backend_tokenizer)
    with pytest.raises(SpecError, match="the tokenizer has no end-of-sequence token"):
        Encoder(tokenizer, config("sft"), "sft")


def test_a_prompt_is_written_once_for_all_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[dict] = []
    answers = Renderer._answers

    def counted(renderer: Renderer, template: str, conversations: list[bytes]) -> list[dict]:
        written.extend(map(pickle.loads, conversations))
        return answers(renderer, template, conversations)

    monkeypatch.setattr(Renderer, "_answers", counted)
    encoder = Encoder(build_tokenizer(), config("cpo", instruction_template="tokenizer"), "cpo")
    encoder.encode(CPORow(**row("cpo")))

    assert [given["add_generation_prompt"] for given in written] == [True, False, False, False]
