# SPDX-License-Identifier: Apache-2.0
"""Documents: texts without a prompt, of which every token is trained on, in parts where they are long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tadrib.training.data.group import Completion, Group


def first_token(completions: list[Completion]) -> tuple[list[int], list[Completion]]:
    """A document's prompt and completion where the tokenizer adds no BOS token. Its first token is the prompt, as there
    is nothing before it from which it could be predicted."""
    (whole,) = completions
    return whole.tokens[:1], [replace(whole, tokens=whole.tokens[1:])]


def split_document(group: Group, longest: int) -> Iterator[Group]:
    """The group of a document as groups of at most ``longest`` tokens, in which each of its tokens is trained on once.

    A part begins with the last token of the one before it, which is its prompt; what is further back it does not see.
    The last part ends with EOS.
    """
    (whole,) = group.completions
    tokens, room = [*group.prompt, *whole.tokens], max(1, longest - 1)
    for start in range(len(group.prompt), len(tokens), room):
        before = tokens[:start] if start == len(group.prompt) else tokens[start - 1 : start]
        yield replace(group, prompt=before, completions=[replace(whole, tokens=tokens[start : start + room])])
