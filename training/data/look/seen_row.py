# SPDX-License-Identifier: Apache-2.0
"""A row as the model sees it: its template's text in token ids, and which of them are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tadrib.training.config import CommonConfig
from tadrib.training.config.dataset.layout import Layout
from tadrib.training.data.encoding import Encoded, Encoder
from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.group import Completion, Group
from tadrib.training.data.lengths import Limits
from tadrib.training.data.look.token_texts import TokenText, token_texts
from tadrib.training.data.readers.raw_row import RawRow
from tadrib.training.data.readers.sources import open_source
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.messages import is_trained_on
from tadrib.training.data.rows.row_problem import RowError
from tadrib.training.data.rows.segments import answer_messages, prompt_messages
from tadrib.training.errors import DataError, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a row that is trained on, or not. ``role`` is ``prompt`` or the answer's, numbered where there are
    several of a role; ``tokens`` are empty without a tokenizer."""

    role: str
    trained: bool
    text: str
    tokens: list[TokenText] = field(default_factory=list)

    @property
    def length(self) -> int:
        """In tokens; in characters without a tokenizer."""
        return sum(len(token.ids) for token in self.tokens) if self.tokens else len(self.text)


@dataclass(slots=True)
class SeenRow:
    """``place`` is where the row stands in its source. ``lengths`` has the tokens (or characters, see ``unit``) of the
    prompt, of each answer, and of the prompt with its longest answer. ``notes`` say what else becomes of the row;
    ``problems`` why it cannot be used, and then there are no parts.
    """

    place: str
    template: str = ""
    unit: str = "tokens"
    parts: list[Part] = field(default_factory=list)
    lengths: dict[str, int] = field(default_factory=dict)
    label: bool | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def seen_rows(
    name: str,
    method: str,
    config: CommonConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    numbers: Sequence[int],
    first: int,
) -> Iterator[SeenRow]:
    """The rows of the dataset ``name`` with the given ``numbers``, which count as messages about rows do; without
    numbers the ``first`` ones. No more of the dataset is read than they need.

    Raises:
        DataError: the dataset cannot be read, or has no row with one of the numbers.
        SpecError: the template or a normalization step does not exist, or does not fit the tokenizer.
    """
    source, reader = open_source(name, config.columns), RowReader(method, Layout.of(config))
    encoder = None if tokenizer is None else Encoder(tokenizer, config, method)
    wanted, last = set(numbers), 0
    for index, raw in enumerate(source.rows):
        if index >= first if not numbers else not wanted:
            return
        last = raw.number
        if numbers and raw.number not in wanted:
            continue
        wanted.discard(raw.number)
        row = SeenRow(source.where(raw.number))
        try:
            _fill(row, index, _dialogue(raw, reader), encoder, tokenizer, config)
        except RowError as error:
            row.problems = [
                f"{p.column}: {p.message} {p.action}" if p.column else f"{p.message} {p.action}"
                for p in error.problems
            ]
        yield row
    if wanted:
        listed = ", ".join(map(str, sorted(wanted)))
        message = f"has no row at {source.unit} {listed}; the last one is at {source.unit} {last:,}."
        raise DataError(name, [Problem(name, message, "Blank lines have no row.")])


def _dialogue(raw: RawRow, reader: RowReader) -> Dialogue:
    if raw.value is None:
        raise RowError(*([raw.problem] if raw.problem else []))
    return reader.read(raw.value).row.dialogue


def _fill(
    row: SeenRow,
    index: int,
    dialogue: Dialogue,
    encoder: Encoder | None,
    tokenizer: PreTrainedTokenizerBase | None,
    config: CommonConfig,
) -> None:
    row.label = dialogue.label
    if encoder is None or tokenizer is None:
        row.unit, row.parts = "characters", list(_plain_parts(dialogue))
        row.lengths = _lengths(row.parts)
        return
    (encoded,) = encoder.encode_batch([(index, dialogue)])
    if isinstance(encoded, RowError):
        raise encoded
    row.template = encoded.template
    group = encoded.group
    limits = Limits.of(config, encoder.method)
    row.notes = [*_notes(encoded), *_over(group, limits, config)]
    if config.truncation == "truncate" and not limits.fits(group):
        group = limits.cut(group, tokenizer.bos_token_id) or group
    row.parts = [Part("prompt", False, *_said(tokenizer, group.prompt, []))]
    names = _named([completion.role for completion in group.completions])
    for name, completion in zip(names, group.completions, strict=True):
        row.parts += _answer_parts(name, completion, tokenizer, group.prompt)
    row.lengths = _lengths(row.parts)


def _said(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], before: list[int]
) -> tuple[str, list[TokenText]]:
    tokens = token_texts(tokenizer, ids, before)
    return "".join(token.text for token in tokens), tokens


def _named(roles: Sequence[str]) -> list[str]:
    """The role of each answer, with its number (from 1) where several have it."""
    return [
        f"{role} {roles[: place + 1].count(role)}" if roles.count(role) > 1 else role
        for place, role in enumerate(roles)
    ]


def _answer_parts(
    name: str, completion: Completion, tokenizer: PreTrainedTokenizerBase, prompt: list[int]
) -> Iterator[Part]:
    """The stretches of an answer that are trained on or not, in order."""
    flags = completion.trained or [True] * len(completion.tokens)
    before = prompt
    for trained, members in groupby(zip(flags, completion.tokens, strict=True), lambda pair: pair[0]):
        ids = [token for _, token in members]
        yield Part(name, trained, *_said(tokenizer, ids, before))
        before = [*before, *ids]


def _plain_parts(dialogue: Dialogue) -> Iterator[Part]:
    """Parts without a tokenizer: the texts alone, with no template."""
    yield Part("prompt", False, _transcript(prompt_messages(dialogue)))
    names = _named([answer.role for answer in dialogue.answers])
    for name, answer in zip(names, dialogue.answers, strict=True):
        for trained, messages in groupby(answer_messages(answer.content), is_trained_on):
            yield Part(name, trained, _transcript(list(messages)))


def _transcript(messages: Sequence[dict[str, Any]]) -> str:
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _lengths(parts: Sequence[Part]) -> dict[str, int]:
    prompt = parts[0].length
    answers: dict[str, int] = {}
    for part in parts[1:]:
        answers[part.role] = answers.get(part.role, 0) + part.length
    return {"prompt": prompt, **answers, "total": prompt + max(answers.values(), default=0)}


def _notes(encoded: Encoded) -> Iterator[str]:
    if encoded.control:
        read_as = "as the control token" if encoded.template == "plain" else "as ordinary text"
        yield f"the row's own text contains {encoded.control}, which the model reads {read_as}"
    if encoded.merges:
        yield "as one text, tokens would merge across the end of the prompt; they are tokenized separately"


def _over(group: Group, limits: Limits, config: CommonConfig) -> Iterator[str]:
    if limits.fits(group):
        return
    outcome = {
        "error": "training refuses it",
        "drop": "training leaves it out",
        "truncate": "it is cut, as shown below",
    }[config.truncation]
    if config.truncation == "truncate" and limits.cut(group, None) is None:
        outcome = "training leaves it out, because cutting would leave nothing to train on"
    for key, length in limits.exceeded(group):
        yield f"over {key}: {length:,} tokens; {outcome} (truncation: {config.truncation})"
