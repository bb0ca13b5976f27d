# SPDX-License-Identifier: Apache-2.0
"""Measure the facts of a block: of the texts of its rows, and of their tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tadrib.training.data.blocks.facts import Facts, Longest, Seen
from tadrib.training.data.encoding import Encoded
from tadrib.training.data.group import NEGATIVES
from tadrib.training.data.lengths import Limits
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.templates.normalization import count_letters


def measure_texts(facts: Facts, dialogues: Sequence[Dialogue], *, is_judged: bool) -> None:
    """Add what can be told without a tokenizer, but for lengths."""
    facts.usable += len(dialogues)
    letters, arabic = count_letters(text for dialogue in dialogues for text in dialogue.texts())
    facts.letters += letters
    facts.arabic += arabic
    for dialogue in dialogues:
        roles = [answer.role for answer in dialogue.answers]
        facts.answers += len(roles)
        facts.roles.update(roles)
        facts.given_pairs.add(_pairs(roles, dialogue.lengths))
        facts.without_lengths += not dialogue.lengths
        if is_judged:
            facts.labels["desirable" if dialogue.label else "undesirable"] += 1


def measure_characters(facts: Facts, dialogues: Iterable[Dialogue]) -> None:
    """Add lengths in characters of the texts, without a template."""
    for dialogue in dialogues:
        answers = [sum(map(len, answer.texts())) for answer in dialogue.answers]
        _add_lengths(facts, sum(map(len, dialogue.prompt_texts())), answers)
        facts.pairs.add(_pairs([answer.role for answer in dialogue.answers], answers))


def measure_tokens(facts: Facts, encoded: Sequence[tuple[int, Encoded]], limits: Limits) -> None:
    """Add what is known of numbered rows that are encoded and not truncated yet."""
    for number, item in encoded:
        group = item.group
        _add_lengths(facts, len(group.prompt), [len(each.tokens) for each in group.completions])
        roles = [each.role for each in group.completions]
        facts.pairs.add(_pairs(roles, [each.num_targets for each in group.completions]))
        facts.templates[item.template] += 1
        facts.document_parts += item.dialogue.part is not None
        if item.merges:
            facts.merges.add(number)
        if item.control:
            kind = "raw" if item.template == "plain" else "text"
            facts.control.setdefault(kind, Seen()).add(number, item.control)
        for answer, completion in zip(item.dialogue.answers, group.completions, strict=True):
            # the parts of a document have its whole text each
            texts = [] if item.dialogue.part else list(answer.trained_texts())
            facts.words += sum(len(text.split()) for text in texts)
            facts.word_tokens += completion.num_targets - len(texts)
        exceeded = list(limits.exceeded(group))
        facts.over_long += bool(exceeded)
        for key, length in exceeded:
            facts.over.setdefault(key, Longest()).add(length, number)


def _add_lengths(facts: Facts, prompt: int, answers: Sequence[int]) -> None:
    parts = {"prompt": [prompt], "completion": answers, "total": [prompt + max(answers)]}
    for part, lengths in parts.items():
        facts.lengths.setdefault(part, Counter()).update(lengths)


def _pairs(roles: Sequence[str], lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(chosen, negative) lengths of one row; none without a chosen answer, or without lengths."""
    if "chosen" in roles and lengths:
        chosen = lengths[roles.index("chosen")]
        yield from (
            (chosen, length) for role, length in zip(roles, lengths, strict=True) if role in NEGATIVES
        )
