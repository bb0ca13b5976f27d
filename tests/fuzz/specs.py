# SPDX-License-Identifier: Apache-2.0
"""Spec: YAML text that is nearly a spec, and overrides; loaded, resolved, shown and loaded again."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from pathlib import Path
from random import Random

from tadrib.ray_jobs.console import print_spec
from tadrib.training.config import METHODS, load_spec, resolve
from tadrib.training.config.spec import spec_keys
from tests.fuzz.fragments import json_fragment, yaml_fragment
from tests.fuzz.mutations import mutated

EXAMPLES = Path(__file__).parents[2] / "examples"
HOW_MANY_ARE_SHOWN = 0.02


def try_spec(random: Random, folder: Path) -> None:
    path = folder / "spec.yaml"
    path.write_bytes(_content(random))
    spec = load_spec(path, _overrides(random))
    resolved = resolve(spec)
    again = folder / "again.yaml"
    again.write_text(resolved.spec.to_yaml(), encoding="utf-8")
    assert resolve(load_spec(again)).spec.to_mapping() == resolved.spec.to_mapping()
    assert spec.resources.memory_bytes is None or spec.resources.memory_bytes >= 0
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(terminal):
        print_spec(path, resolved, show=random.random() < HOW_MANY_ARE_SHOWN)


@cache
def _examples() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("*.yaml"))]


@cache
def _keys(method: str) -> list[str]:
    return spec_keys(METHODS[method].config)


def _content(random: Random) -> bytes:
    if random.random() < 0.3:
        text = "\n".join(_line(random) for _ in range(random.randrange(12)))
    else:
        text = _edited(random, random.choice(_examples()))
    data = text.encode("utf-8", "surrogatepass")
    return mutated(random, data) if random.random() < 0.3 else data


def _line(random: Random) -> str:
    key = random.choice(_keys(random.choice(list(METHODS))))
    if key == "resources":
        return (
            f"resources: {{num_workers: {json_fragment(random)}, memory_per_worker: {json_fragment(random)}}}"
        )
    if key.startswith("resources."):
        return f"resources:\n  {key.removeprefix('resources.')}: {yaml_fragment(random)}"
    return f"{key}: {yaml_fragment(random)}"


def _edited(random: Random, text: str) -> str:
    """A good spec with some values replaced and some lines added, twice or gone."""
    lines = text.splitlines()
    for _ in range(random.randint(0, 3)):
        place = random.randrange(len(lines))
        match random.randrange(4):
            case 0:
                lines[place] = f"{lines[place].partition(':')[0]}: {yaml_fragment(random)}"
            case 1:
                lines.insert(place, _line(random))
            case 2:
                lines.insert(place, lines[place])
            case _ if len(lines) > 1:
                del lines[place]
    return "\n".join(lines) + "\n"


def _overrides(random: Random) -> list[str]:
    if random.random() < 0.8:
        return []
    keys = [
        *_keys(random.choice(list(METHODS))),
        "",
        "a.b.c",
        "method.x",
        "resources.num_workers.min",
        "\0",
        "a" * 10_000,
    ]
    sign = random.choice(["=", "=", "=", "", "=="])
    return [f"{random.choice(keys)}{sign}{yaml_fragment(random)}" for _ in range(random.randint(1, 3))]
