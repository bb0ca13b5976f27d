# SPDX-License-Identifier: Apache-2.0
"""Row: nearly a row of one of the six methods; read, checked and reported as `tadrib data check` does."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random

from tadrib.training.config import METHODS
from tadrib.training.data.rows.models import row_model
from tests.fuzz.data import check
from tests.fuzz.fragments import WORDS, json_fragment, json_key
from tests.fuzz.specs import EXAMPLES

ROLES = ('"user"', '"assistant"', '"system"', '"tool"', '"human"', "null", "1", '"User"')


def try_rows(random: Random, folder: Path) -> None:
    method = random.choice(list(METHODS))
    path = folder / "rows.jsonl"
    lines = [_row(random, method) for _ in range(random.randint(1, 6))]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    check(random, path, method)


@cache
def _examples(method: str) -> list[str]:
    return (EXAMPLES / "data" / f"{method}_heldout.jsonl").read_text(encoding="utf-8").splitlines()


def _row(random: Random, method: str) -> str:
    columns = {key: json.dumps(item) for key, item in json.loads(random.choice(_examples(method))).items()}
    known = [*row_model(method).model_fields, "messages", "prompts", "chosen_lenght", "x" * 10_000]
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        column = random.choice(known)
        match random.randrange(4):
            case 0:
                columns.pop(column, None)
            case 1:
                columns[column] = _conversation(random)
            case 2:
                columns[column] = _answers(random)
            case _:
                columns[column] = json_fragment(random)
    pairs = [f"{json.dumps(key)}: {value}" for key, value in columns.items()]
    if random.random() < 0.05:
        pairs.append(random.choice(pairs) if pairs else f"{json_key(random)}: 1")
    return "{" + ", ".join(pairs) + "}"


def _text(random: Random) -> str:
    return random.choice(['"ما عاصمة مصر؟"', '"القاهرة"', '"yes"', random.choice(WORDS)])


def _message(random: Random) -> str:
    role, content = random.choice(ROLES), _text(random)
    if random.random() < 0.1:
        return json_fragment(random)
    extra = f', "tool_calls": {json_fragment(random)}' if random.random() < 0.1 else ""
    return f'{{"role": {role}, "content": {content}{extra}}}'


def _conversation(random: Random) -> str:
    if random.random() < 0.5:
        turns = [
            '{"role": "user", "content": "من أنت؟"}',
            f'{{"role": "assistant", "content": {_text(random)}}}',
        ]
        return f"[{', '.join(turns * random.randint(1, 3))}]"
    return f"[{', '.join(_message(random) for _ in range(random.randrange(5)))}]"


def _answers(random: Random) -> str:
    one = random.choice([_text, _conversation])
    return f"[{', '.join(one(random) for _ in range(random.randrange(4)))}]"
