# SPDX-License-Identifier: Apache-2.0
"""The formats, in the order in which a row is held against them."""

from __future__ import annotations

from collections.abc import Mapping

from tadrib.training.data.formats.alpaca import ALPACA
from tadrib.training.data.formats.completions import PROMPT_COMPLETION, SCORED
from tadrib.training.data.formats.conversations import OPENAI, SHAREGPT
from tadrib.training.data.formats.own_rows import OWN, TEXT
from tadrib.training.data.formats.row_format import Kind, RawValue, RowFormat
from tadrib.training.data.formats.shared_prompts import HH, IMPLICIT_PROMPT

_IN_ORDER = (SHAREGPT, OPENAI, HH, SCORED, PROMPT_COMPLETION, ALPACA, IMPLICIT_PROMPT, TEXT, OWN)
FORMATS = {each.name: each for each in _IN_ORDER}


def read_as(formats: Mapping[str, int]) -> str:
    """What was read, in words: ``ShareGPT: 300 rows, Alpaca: 2 rows``. ``formats`` counts rows by the format's name."""
    return ", ".join(
        f"{FORMATS[name].title}: {count:,} row{'s' if count > 1 else ''}" for name, count in formats.items()
    )


def recognised(value: RawValue, kind: Kind) -> RowFormat:
    """The format that ``value``, without its empty columns, has; the method's own if no other one has it."""
    return next(each for each in _IN_ORDER if kind in each.kinds and each.matches(value, kind))
