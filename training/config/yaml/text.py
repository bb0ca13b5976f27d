# SPDX-License-Identifier: Apache-2.0
"""YAML text: values written so that readers of YAML 1.2 (ours) and of YAML 1.1 (Helm's) get the same ones back."""

from __future__ import annotations

from typing import Any

import yaml

from tadrib.training.config.yaml.file import CORE_TYPES
from tadrib.training.config.yaml.written import WrittenFloat, WrittenInt

_WIDTH = 110


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes each text which either version of YAML would take for another type.

    It knows the types of YAML 1.1 and writes ``12345e7`` plain, which is a number in YAML 1.2.
    """

    def ignore_aliases(self, data: Any) -> bool:
        return True  # our reader refuses them


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # line breaks of other scripts and control characters survive as escapes alone
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(WrittenInt, lambda dumper, number: dumper.represent_int(int(number)))
_Dumper.add_representer(WrittenFloat, lambda dumper, number: dumper.represent_float(float(number)))
for _tag, _pattern, _first in CORE_TYPES:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def to_yaml(value: Any) -> str:
    """``value`` (mappings, lists, texts, numbers, booleans, None) in block style, keys in their order; ``parse_yaml``
    gives an equal value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


def as_typed(text: str) -> str:
    """``text`` as one types it in a YAML file: in quotes where it would be read as something else."""
    return to_yaml([text]).removeprefix("- ").rstrip("\n")
