# SPDX-License-Identifier: Apache-2.0
"""Rows of other tools' formats: each is recognised, told, and gives the tokens of the same row in the method's form."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tadrib.training.config.dataset.layout import AS_RECOGNISED, Layout
from tadrib.training.data.encoding import Encoded, Encoder, parts_of
from tadrib.training.data.formats.registry import FORMATS
from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.group import Group
from tadrib.training.data.prepare import prepare_data
from tadrib.training.data.report.check import check_data
from tadrib.training.data.report.table import render
from tadrib.training.data.rows.row_problem import RowError
from tests.data.builders import assistant, build_tokenizer, config, user, write_jsonl
from tests.data.test_meaningful_fields import TOOL_TEMPLATE, TOOLS

ROWS = 24
CITIES = ("القاهرة", "عمان", "الرباط", "Paris")


def question(n: int) -> str:
    return f"ما عاصمة البلد رقم {n}؟"


def answer(n: int) -> str:
    return f"{CITIES[n % 4]} هي العاصمة رقم {n}."


def wrong(n: int) -> str:
    return f"لا أعرف البلد {n}."


def call(n: int) -> dict[str, Any]:
    return {"name": "weather", "arguments": {"city": CITIES[n % 4], "day": n}}


def calling(n: int) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": call(n)}],
    }


def system(n: int) -> dict[str, str]:
    return {"role": "system", "content": f"أجب باختصار {n}"}


def told(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


def result(n: int) -> dict[str, str]:
    return {"role": "tool", "content": f'{{"degrees": {n}}}'}


def alpaca(n: int) -> tuple[dict, dict]:
    theirs = {"instruction": question(n), "input": "", "output": answer(n)}
    own = {"instruction": question(n), "response": answer(n)}
    if n % 4 == 1:
        theirs["input"] = own["input"] = f"باختصار {n}"
    if n % 4 == 2:
        theirs["system"] = own["system"] = f"كن لطيفا {n}"
    if n % 4 == 3:
        theirs |= {"history": [[question(n + 1), answer(n + 1)]], "input": "الآن"}
        turns = [user(question(n + 1)), assistant(answer(n + 1)), user(f"{question(n)}\n\nالآن")]
        own = {"messages": [*turns, assistant(answer(n))]}
    return theirs, own


def alpaca_ranking(n: int) -> tuple[dict, dict]:
    theirs = {"instruction": question(n), "input": f"مدخل {n}", "chosen": answer(n), "rejected": wrong(n)}
    return theirs, {"prompt": f"{question(n)}\n\nمدخل {n}", "chosen": answer(n), "rejected": wrong(n)}


def alpaca_kto(n: int) -> tuple[dict, dict]:
    tag = "label" if n % 4 > 1 else "kto_tag"
    own = {"prompt": question(n), "completion": answer(n), "label": n % 2 == 0}
    return {"instruction": question(n), "input": "", "output": answer(n), tag: n % 2 == 0}, own


def sharegpt(n: int) -> tuple[dict, dict]:
    """The shape of LLaMA-Factory's glaive_toolcall_en_demo.json in every other row."""
    turns = [told("human", question(n)), told("gpt", answer(n)), told("human", "شكرا"), told("gpt", "عفوا")]
    own = [user(question(n)), assistant(answer(n)), user("شكرا"), assistant("عفوا")]
    if n % 2:
        turns = [
            told("human", question(n)),
            told("function_call", json.dumps(call(n), ensure_ascii=False)),
            told("observation", result(n)["content"]),
            told("gpt", answer(n)),
        ]
        own = [user(question(n)), calling(n), result(n), assistant(answer(n))]
    if n % 3 == 0:
        return {
            "conversations": [told("system", system(n)["content"]), *turns],
            "tools": json.dumps(TOOLS),
        }, {
            "messages": [system(n), *own],
            "tools": TOOLS,
        }
    theirs = {"conversations": turns, "system": system(n)["content"], "tools": json.dumps(TOOLS)}
    return theirs, {"messages": own, "system": system(n)["content"], "tools": TOOLS}


def sharegpt_ranking(n: int) -> tuple[dict, dict]:
    """The shape of LLaMA-Factory's dpo_en_demo.json."""
    turns = [told("human", question(n)), told("gpt", "نعم؟"), told("human", "أجب")]
    theirs = {"conversations": turns, "chosen": told("gpt", answer(n)), "rejected": told("gpt", wrong(n))}
    prompt = [user(question(n)), assistant("نعم؟"), user("أجب")]
    return theirs, {"prompt": prompt, "chosen": [assistant(answer(n))], "rejected": [assistant(wrong(n))]}


def openai_kto(n: int) -> tuple[dict, dict]:
    """The shape of LLaMA-Factory's kto_en_demo.json."""
    theirs = {"messages": [user(question(n)), assistant(answer(n))], "label": n % 2 == 0}
    own = {"prompt": [user(question(n))], "completion": [assistant(answer(n))], "label": n % 2 == 0}
    return theirs, own


def openai(n: int) -> tuple[dict, dict]:
    arguments = json.dumps(call(n)["arguments"], ensure_ascii=False)
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "weather", "arguments": arguments}}]
    parts = [{"type": "text", "text": question(n)[:5]}, {"type": "text", "text": question(n)[5:]}]
    theirs = [
        {"role": "developer", "content": system(n)["content"]},
        {"role": "user", "content": parts},
        assistant(wrong(n)) | {"weight": 0},
        user("حاول"),
        {"role": "assistant", "content": None, "tool_calls": calls},
        result(n) | {"tool_call_id": f"c{n}"},
        assistant(answer(n)) | {"weight": 1},
    ]
    own = [system(n), user(question(n)), assistant(wrong(n)) | {"weight": 0}, user("حاول"), calling(n)]
    own += [result(n), assistant(answer(n))]
    return {"messages": theirs, "tools": TOOLS, "parallel_tool_calls": False}, {
        "messages": own,
        "tools": TOOLS,
    }


def prompt_completion(n: int) -> tuple[dict, dict]:
    prompt = [system(n), user(question(n)), assistant(wrong(n)), user("حاول")]
    forms = [
        ((question(n), answer(n)), {"instruction": question(n), "response": answer(n)}),
        (
            (prompt, [assistant(answer(n))]),
            {"messages": [*prompt[:2], assistant(wrong(n)) | {"weight": 0}, prompt[3], assistant(answer(n))]},
        ),
        (
            ([user(question(n))], answer(n)),
            {"messages": [user(question(n)), assistant(answer(n))]},
        ),
    ]
    (given, completion), own = forms[n % 3]
    return {"prompt": given, "completion": completion}, own


def hh(n: int) -> tuple[dict, dict]:
    start = f"\n\nHuman: {question(n)}\n\nAssistant: ماذا تعني؟\n\nHuman: مثلا\nالمدينة {n}"
    theirs = {
        role: f"{start}\n\nAssistant: {text(n)}" for role, text in (("chosen", answer), ("rejected", wrong))
    }
    prompt = [user(question(n)), assistant("ماذا تعني؟"), user(f"مثلا\nالمدينة {n}")]
    return theirs, {"prompt": prompt, "chosen": [assistant(answer(n))], "rejected": [assistant(wrong(n))]}


def scored(n: int) -> tuple[dict, dict]:
    texts = [wrong(n), answer(n), "لا"]
    own = {"prompt": question(n), "chosen": answer(n), "rejected": ["لا", wrong(n)]}
    if n % 2:  # UltraFeedback's own shape
        rated = [
            {"model": "m", "response": text, "overall_score": score}
            for text, score in zip(texts, (1.5, 9.0, 4.0), strict=True)
        ]
        return {"instruction": question(n), "completions": rated, "models": ["m"]}, own
    return {"prompt": question(n), "completions": texts, "scores": [1, 9, 4.5]}, own


def implicit_chat(n: int) -> tuple[dict, dict]:
    """TRL's conversational_implicit_prompt_preference."""
    both = [user(question(n))]
    theirs = {"chosen": [*both, assistant(answer(n))], "rejected": [*both, assistant(wrong(n))]}
    return theirs, {"prompt": both, "chosen": [assistant(answer(n))], "rejected": [assistant(wrong(n))]}


def ultrafeedback_binarized(n: int) -> tuple[dict, dict]:
    theirs, own = implicit_chat(n)
    return theirs | {"prompt": question(n), "messages": theirs["chosen"], "score_chosen": 8.0}, own


def plain_text(n: int) -> tuple[dict, dict]:
    """TRL's standard_language_modeling, and LLaMA-Factory's c4_demo.jsonl with its other columns."""
    return {"text": f"{question(n)} {answer(n)}", "url": "x"}, {"text": f"{question(n)} {answer(n)}"}


Builder = Callable[[int], tuple[dict, dict]]
FORMS: dict[str, tuple[str, str, Builder]] = {
    "Alpaca": ("sft", "alpaca", alpaca),
    "Alpaca's ranking": ("dpo", "alpaca", alpaca_ranking),
    "Alpaca's KTO": ("kto", "alpaca", alpaca_kto),
    "ShareGPT": ("sft", "sharegpt", sharegpt),
    "ShareGPT's ranking": ("cpo", "sharegpt", sharegpt_ranking),
    "OpenAI": ("sft", "openai", openai),
    "OpenAI's KTO": ("kto", "openai", openai_kto),
    "TRL's prompt and completion": ("sft", "prompt_completion", prompt_completion),
    "text": ("sft", "text", plain_text),
    "HH": ("dpo", "hh", hh),
    "scores": ("cpo", "scored", scored),
    "TRL's implicit prompt": ("simpo", "tadrib", implicit_chat),
    "UltraFeedback, binarized": ("ipo", "tadrib", ultrafeedback_binarized),
}


def groups(method: str, values: list[dict], layout: Layout = AS_RECOGNISED) -> list[Group]:
    tokenizer = build_tokenizer(TOOL_TEMPLATE)
    encoder = Encoder(tokenizer, config(method, instruction_template="tokenizer"), method)
    reader = RowReader(method, layout)
    return [encoder.encode(reader.read(value).row, number) for number, value in enumerate(values)]


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_a_format_give_the_tokens_of_our_own(tmp_path: Path, form: str) -> None:
    method, name, build = FORMS[form]
    theirs, own = map(list, zip(*map(build, range(ROWS)), strict=True))
    path = write_jsonl(tmp_path / "rows.jsonl", theirs)
    report = check_data(path, method, config(method, path, instruction_template="tokenizer"), None)
    assert (report.refusals, report.formats) == ([], {name: ROWS})
    assert groups(method, theirs) == groups(method, own)


def document(text: str, longest: int, adds_bos: bool = False) -> list[Group]:
    tokenizer = build_tokenizer(adds_bos=adds_bos)
    settings = config("sft", max_seq_length=longest)
    encoder = Encoder(tokenizer, settings, "sft")
    (encoded,) = encoder.encode_batch([(7, RowReader("sft").read({"text": text}).row.dialogue)])
    assert isinstance(encoded, Encoded)
    return [item.group for item in parts_of(encoded, longest)]


@pytest.mark.parametrize("adds_bos", [True, False])
def test_every_token_of_a_text_is_trained_on_once_in_parts_that_fit(adds_bos: bool) -> None:
    tokenizer = build_tokenizer(adds_bos=adds_bos)
    text = "\n\n".join(f"{question(n)} {answer(n)}" for n in range(5))
    whole = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    (one,) = document(text, 10_000, adds_bos)
    assert (one.prompt, one.completions[0].tokens) == (whole[:1], whole[1:])
    assert one.completions[0].trained is None
    groups = document(text, 16, adds_bos)
    assert len(groups) > 5
    assert max(group.num_tokens for group in groups) == 16
    assert [token for group in groups for token in group.completions[0].tokens] == whole[1:]
    assert [group.prompt for group in groups[1:]] == [
        group.completions[0].tokens[-1:] for group in groups[:-1]
    ]
    assert {group.row for group in groups} == {7}


def test_long_texts_are_no_rows_over_the_limit_and_stay_on_one_side_of_a_split(tmp_path: Path) -> None:
    rows = [{"text": " ".join(question(n) for n in range(start, start + 20))} for start in range(20)]
    settings = config(
        "sft", write_jsonl(tmp_path / "rows.jsonl", rows), max_seq_length=32, validation_split=0.25
    )
    data = prepare_data(settings, "sft", build_tokenizer())
    assert data.eval is not None
    held = {group.row for group in data.eval}
    assert len(held) == 5
    assert held | {group.row for group in data.train} == set(range(20))
    assert not held & {group.row for group in data.train}
    assert (data.report.usable_rows, data.report.over_long) == (20, 0)
    assert data.report.document_parts == len(data.train) + len(data.eval) > 100


def test_a_text_beside_a_row_is_a_column_without_a_use() -> None:
    """As in Stanford's Alpaca, where it is the row as rendered."""
    read = RowReader("sft").read({"instruction": "a", "output": "b", "text": "a b"})
    assert (read.format, read.unused, read.row.dialogue.prompt) == ("alpaca", ("text",), "a")


def test_a_file_may_hold_rows_of_several_formats(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [alpaca(0)[0], openai(0)[0], alpaca(1)[0], sharegpt(0)[0]])
    assert check_data(path, "sft", config("sft", path), None).formats == {
        "alpaca": 2,
        "openai": 1,
        "sharegpt": 1,
    }


def test_columns_and_tags_of_any_name() -> None:
    columns = {"instruction": "السؤال", "response": "الجواب"}
    arabic = {"السؤال": question(1), "الجواب": answer(1)}
    own = {"instruction": question(1), "response": answer(1)}
    assert groups("sft", [arabic], Layout(columns=columns)) == groups("sft", [own])
    said = [{"متكلم": "زائر", "قول": question(1)}, {"متكلم": "خبير", "قول": answer(1)}]
    tags = {"role": "متكلم", "content": "قول", "user": "زائر", "assistant": "خبير"}
    layout = Layout(columns={"conversations": "حوار"}, tags=tags)
    messages = {"messages": [user(question(1)), assistant(answer(1))]}
    assert groups("sft", [{"حوار": said}], layout) == groups("sft", [messages])


def test_a_problem_is_told_under_the_names_of_the_file() -> None:
    def problems(method: str, value: dict, **layout: Any) -> list[str]:
        with pytest.raises(RowError) as refused:
            RowReader(method, Layout(**layout)).read(value)
        return [problem.column for problem in refused.value.problems]

    assert problems("sft", {"q": " ", "a": "b"}, columns={"instruction": "q", "response": "a"}) == ["q"]
    assert problems("sft", {"instruction": "a", "output": " "}) == ["output"]
    turns = [told("human", "q"), told("gpt", "")]
    assert problems("sft", {"conversations": turns}) == ["conversations[1].content"]
    labelled = {"instruction": "a", "output": "b", "kto_tag": "yes"}
    assert problems("kto", labelled) == ["kto_tag"]


def test_a_format_can_be_forced() -> None:
    both = {"chosen": "The sky is blue.", "rejected": "The sky is green."}
    own = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}
    assert groups("dpo", [both], Layout(format="implicit_prompt")) == groups("dpo", [own])
    with pytest.raises(RowError, match="prompt: the column is missing"):
        RowReader("dpo").read(both)
    with pytest.raises(RowError, match="format: hh gives no rows of method sft"):
        RowReader("sft", Layout(format="hh")).read({"instruction": "a", "response": "b"})


REFUSED: dict[str, tuple[str, dict, str]] = {
    "an odd order": (
        "sft",
        {"conversations": [told("human", "a"), told("human", "b"), told("gpt", "c")]},
        r"conversations\[1\]: 'user' after 'user'; expected assistant",
    ),
    "the assistant first": (
        "sft",
        {"conversations": [told("gpt", "a"), told("human", "b"), told("gpt", "c")]},
        r"conversations\[0\]: 'assistant' at the beginning; expected user",
    ),
    "an unknown role": (
        "sft",
        {"conversations": [told("visitor", "a"), told("gpt", "b")]},
        r"conversations\[0\].role: expected one of system, user .*found 'visitor'",
    ),
    "a call that is no JSON": (
        "sft",
        {"conversations": [told("human", "a"), told("function_call", "weather"), told("gpt", "b")]},
        r"conversations\[1\]: is text but not valid JSON",
    ),
    "a weight of a half": (
        "sft",
        {"messages": [user("a"), assistant("b") | {"weight": 0.5}]},
        r"messages\[1\].weight: expected 0 .* or 1",
    ),
    "images, as mllm_demo.json has": (
        "sft",
        {"messages": [user("<image>a"), assistant("b")], "images": ["mllm_demo_data/1.jpg"]},
        "images: would change what is trained on",
    ),
    "an image part": (
        "dpo",
        {"prompt": [user([{"type": "image"}])], "chosen": [assistant("a")], "rejected": [assistant("b")]},  # type: ignore[arg-type]
        r"prompt\[0\].content\[0\]: expected a part of type 'text', found a part of type 'image'",
    ),
    "an undesirable answer under SFT": (
        "sft",
        {"messages": [user("a"), assistant("b")], "label": False},
        "label: is false: the answer is not to be learnt",
    ),
    "an undesirable completion under SFT": (
        "sft",
        {"prompt": "a", "completion": "b", "label": False},
        "label: is false: the completion is not to be learnt",
    ),
    "two answers": (
        "sft",
        {"instruction": "a", "output": "b", "response": "c"},
        "response: is given beside 'output'",
    ),
    "a dialogue in which one speaks twice": (
        "dpo",
        {"chosen": "\n\nHuman: a\n\nHuman: b\n\nAssistant: c", "rejected": "\n\nHuman: a\n\nAssistant: d"},
        "chosen: turn 2 of the dialogue: expected what the assistant says, found the user again",
    ),
    "a system message beside a text": (
        "sft",
        {"text": "a", "system": "b"},
        "text: is given together with system, tools or input",
    ),
    "a tie of the best": (
        "cpo",
        {"prompt": "a", "completions": ["b", "c", "d"], "scores": [9, 9, 1]},
        "scores: 9 is the highest, of more than one completion",
    ),
    "scores that are none": (
        "cpo",
        {"prompt": "a", "completions": ["b", "c"], "scores": [9, "1"]},
        r"scores\[1\]: expected a number, found '1'",
    ),
    "fewer scores than completions": (
        "cpo",
        {"prompt": "a", "completions": ["b", "c"], "scores": [9]},
        "scores: expected a list of 2 scores",
    ),
    "TRL's steps": (
        "dpo",
        {"prompt": "a", "completions": ["b", "c"], "labels": [True, False]},
        "chosen: the column is missing; found prompt, completions, labels",
    ),
}


def test_a_refusal_shows_the_lines_of_a_spec_that_would_read_the_row(tmp_path: Path) -> None:
    def shown(value: dict, **keys: Any) -> str:
        path = write_jsonl(tmp_path / "rows.jsonl", [value])
        console = Console(file=io.StringIO(), width=1000)
        console.print(render(check_data(path, "sft", config("sft", path, **keys), None)))
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]

    asked = {"question": "a", "the: answer": "b"}
    columns = {"instruction": "question", "response": "the: answer"}
    said = shown(asked)
    assert (
        "or name it in the spec:\n      columns:\n        instruction: question\n        response: …" in said
    )
    assert "Training accepts these data." in shown(asked, columns=columns)
    turns = {"conversations": [told("visitor", "a"), told("gpt", "b")]}
    assert "\n      tags:\n        user: visitor" in shown(turns)
    assert "Training accepts these data." in shown(turns, tags={"user": "visitor"})
    context = {"instruction": "a", "context": "b", "response": "c"}
    assert "\n      columns:\n        input: context" in shown(context)
    assert "Training accepts these data." in shown(context, columns={"input": "context"})


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(case: str) -> None:
    method, value, message = REFUSED[case]
    with pytest.raises(RowError, match=message):
        RowReader(method).read(value)


_KEYS = (
    "from",
    "value",
    "role",
    "content",
    "type",
    "text",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "score",
)
_COLUMNS = (
    "conversations",
    "messages",
    "history",
    "chosen",
    "rejected",
    "completions",
    "scores",
    "tools",
    "text",
)
_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_value_breaks_a_format(data: st.DataObject) -> None:
    """Any row is read or refused by name, also where a format is forced on it."""
    method, name, build = FORMS[data.draw(st.sampled_from(sorted(FORMS)))]
    row = build(data.draw(st.integers(0, 5)))[0]
    for _ in range(data.draw(st.integers(1, 2))):
        row[data.draw(st.sampled_from([*row, *_COLUMNS]))] = data.draw(_JUNK)
    forced = data.draw(st.sampled_from(["auto", name, *sorted(FORMATS)]))
    with suppress(RowError):
        RowReader(method, Layout(format=forced)).read(row)
