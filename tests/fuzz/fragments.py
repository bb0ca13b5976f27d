# SPDX-License-Identifier: Apache-2.0
"""Fragment: a piece of JSON, YAML or plain text that has broken a reader somewhere."""

from __future__ import annotations

import json
from random import Random

NUMBERS = (
    "0", "-1", "1", "3", "2.5", "1e308", "-1e308", "1e400", "1e-400", "NaN", "Infinity", "-Infinity", ".inf",
    ".nan", "1000000000000", "1000000000000000000", "18446744073709551616", "9" * 400, "9" * 5000,
    "0x" + "f" * 5000, "0o17", "010", "1_000", "1:30", "--1", "1e", "٣", "-0.0", "5e-324",
)  # fmt: skip
WORDS = (
    "null", "~", "true", "false", "no", "yes", '""', '" "', "''", '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"',
    '"' + "a" * 10_000 + '"', '"\u202eabc"', '"../../etc/passwd"', '"/dev/zero"', '"s3://"', '"://"',
    '"file:///etc"', '"a\\nb"', '"[red]x[/red]"', '"{"', '"عربي"', "2024-01-01", "0000-99-99",
    "2024-01-01T00:00:00Z",
)  # fmt: skip
YAML_ONLY = (
    '!!int ""', '!!int "x"', '!!float ""', '!!float "1:x"', "!!bool maybe", "!!null x", "!!timestamp x",
    "!!timestamp 2024-99-99", "!!binary 'é'", "!!binary =", "!!set {a: 1}", "!!omap [a]", "!!pairs [[a]]", "!!map 1",
    "!!seq {}", "!!python/object/apply:os.system [ls]", "!local x", "!<tag:x> y", "&a [*a]", "*nothing", "<<: {a: 1}",
    "? [a, b]\n: c", "? {a: b}\n: c", "|\n  text", ">-\n  text\n  more", "%YAML 1.1\n---", "---\n...", "--- 1\n--- 2",
    "\t1", "[1, 2", "{a: 1", "'unclosed", "@at", "`tick", "- a\n- b", "? ", ": ", "a: b: c", "!!merge '<<'",
    "!!value '='", "!!str 5", "!!int 5",
)  # fmt: skip


def nested(depth: int, random: Random) -> str:
    """Brackets ``depth`` levels deep, closed or not."""
    left, right = random.choice([("[", "]"), ('{"a":', "}"), ('[{"role":', "}]")])
    return left * depth + "1" + right * (depth if random.random() < 0.8 else 0)


def json_fragment(random: Random, depth: int = 2) -> str:
    """A JSON value, or nearly one."""
    roll = random.random()
    if roll < 0.3:
        return random.choice(NUMBERS)
    if roll < 0.65 or depth == 0:
        return random.choice(WORDS)
    if roll < 0.70:
        return nested(random.choice([10, 90, 150, 400, 900, 5000, 100_000]), random)
    parts = [json_fragment(random, depth - 1) for _ in range(random.randrange(4))]
    if roll < 0.85:
        return f"[{','.join(parts)}]"
    return "{" + ",".join(f"{json_key(random)}:{part}" for part in parts) + "}"


def json_key(random: Random) -> str:
    return json.dumps(
        random.choice(["a", "role", "content", "data", "step", "", "a.b", "min", "\u0000", "ك" * 300])
    )


def yaml_fragment(random: Random) -> str:
    return random.choice(YAML_ONLY) if random.random() < 0.3 else json_fragment(random)
