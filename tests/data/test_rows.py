# SPDX-License-Identifier: Apache-2.0
"""Good rows of every method, as texts and as conversations, become one dialogue form."""

from __future__ import annotations

from typing import Any

import pytest

from tadrib.training.config import METHODS
from tadrib.training.data.rows.dialogue import Answer, Dialogue
from tadrib.training.data.rows.models import parse_row
from tadrib.training.data.rows.row_problem import RowError
from tests.data.builders import assistant, row, user

Q, A, B = user("q"), assistant("a"), assistant("b")
SYSTEM = {"role": "system", "content": ""}
CHAT = Dialogue([Q], (Answer("chosen", [A]), Answer("rejected", [B])))

GOOD_ROWS: dict[str, tuple[str, dict[str, Any], Dialogue]] = {
    "an instruction": (
        "sft",
        {"instruction": "i", "response": "r"},
        Dialogue("i", (Answer("response", "r"),)),
    ),
    "an instruction with input": (
        "sft",
        {"instruction": "i", "input": "x", "response": "r"},
        Dialogue("i", (Answer("response", "r"),), input="x"),
    ),
    "an instruction with an empty input": (
        "sft",
        {"instruction": "i", "input": None, "response": "r", "messages": None},
        Dialogue("i", (Answer("response", "r"),)),
    ),
    "messages of several turns": (
        "sft",
        {"messages": [SYSTEM, Q, A, user("r"), B]},
        Dialogue([SYSTEM, Q], (Answer("response", [A, user("r"), B]),)),
    ),
    "a tool call without text": (
        "sft",
        {"messages": [Q, {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]},
        Dialogue(
            [Q],
            (Answer("response", [{"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]),),
        ),
    ),
    "a pair": (
        "dpo",
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        Dialogue("p", (Answer("chosen", "a"), Answer("rejected", "b"))),
    ),
    "a list of rejected answers": (
        "simpo",
        {"prompt": "p", "chosen": "a", "rejected": ["b", "c"]},
        Dialogue("p", (Answer("chosen", "a"), Answer("rejected", "b"), Answer("rejected", "c"))),
    ),
    "lengths": (
        "ipo",
        {
            "prompt": "p",
            "chosen": "a",
            "rejected": ["b", "c"],
            "chosen_length": 1,
            "rejected_length": [2.0, 3],
        },
        Dialogue(
            "p", (Answer("chosen", "a"), Answer("rejected", "b"), Answer("rejected", "c")), lengths=(1, 2, 3)
        ),
    ),
    "hard negatives": (
        "cpo",
        {"prompt": "p", "chosen": "a", "rejected": "b", "hard_negatives": ["c"]},
        Dialogue("p", (Answer("chosen", "a"), Answer("rejected", "b"), Answer("hard_negative", "c"))),
    ),
    "a label": (
        "kto",
        {"prompt": "p", "completion": "c", "label": False},
        Dialogue("p", (Answer("completion", "c"),), label=False),
    ),
    "conversations": ("dpo", {"prompt": [Q], "chosen": [A], "rejected": [B]}, CHAT),
    "a text prompt with answers as messages": ("dpo", {"prompt": "q", "chosen": [A], "rejected": [B]}, CHAT),
    "a conversation with text answers": ("dpo", {"prompt": [Q], "chosen": "a", "rejected": ["b"]}, CHAT),
    "answers that hold the prompt": ("dpo", {"chosen": [Q, A], "rejected": [Q, B]}, CHAT),
    "answers that repeat a text prompt": (
        "dpo",
        {"prompt": "q ", "chosen": [Q, A], "rejected": [Q, B]},
        CHAT,
    ),
    "answers that repeat the messages": ("dpo", {"prompt": [Q], "chosen": [Q, A], "rejected": [Q, B]}, CHAT),
    "several rejected conversations": (
        "cpo",
        {"prompt": [Q], "chosen": [A], "rejected": [[B], [assistant("c")]]},
        Dialogue([Q], (*CHAT.answers, Answer("rejected", [assistant("c")]))),
    ),
    "a shared opening of several turns": (
        "dpo",
        {"chosen": [Q, A, user("r"), A], "rejected": [Q, A, user("r"), B]},
        Dialogue([Q, A, user("r")], CHAT.answers),
    ),
    "a judged conversation": (
        "kto",
        {"prompt": "q", "completion": [Q, A], "label": True},
        Dialogue([Q], (Answer("completion", [A]),), label=True),
    ),
}


@pytest.mark.parametrize("case", GOOD_ROWS)
def test_a_good_row_becomes_the_dialogue_it_stands_for(case: str) -> None:
    method, value, expected = GOOD_ROWS[case]
    assert parse_row(method, value).dialogue == expected


@pytest.mark.parametrize("method", METHODS)
def test_columns_that_only_carry_data_are_no_problem(method: str) -> None:
    value = row(method) | {"id": 7, "source": "web", "message_id": "x", "score": float("nan")}
    assert parse_row(method, value).dialogue == parse_row(method, row(method)).dialogue


def test_a_row_with_several_problems_reports_them_all() -> None:
    with pytest.raises(RowError) as caught:
        parse_row("kto", {"prompt": "", "completion": 3, "labels": True})
    assert [(p.column, p.kind) for p in caught.value.problems] == [
        ("label", "missing_column"),
        ("prompt", "empty"),
        ("completion", "wrong_type"),
    ]
