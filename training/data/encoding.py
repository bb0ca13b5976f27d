# SPDX-License-Identifier: Apache-2.0
"""Dialogues to groups of token ids: prompt and answers tokenized apart, as inference sees them, and
concatenated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.config import CommonConfig
from training.data.beginning import Beginning
from training.data.dialogue import Dialogue
from training.data.group import Completion, Group
from training.data.messages import same
from training.data.normalization import normalizer
from training.data.row_problem import RowError, RowProblem
from training.data.rows import Row
from training.data.segments import Segment, Template
from training.data.templates import Templates
from training.errors import Problem, SpecError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH_ROWS = 256
# Tokens join within a word, so the words on both sides of a boundary tell whether any would join across it.
_EDGE_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Encoded:
    """A group with what is known about how it came about.

    ``merges`` says that tokenizing prompt and answer as one text would join tokens across their boundary.
    """

    group: Group
    dialogue: Dialogue
    template: str
    merges: bool


@dataclass(frozen=True, slots=True)
class _Written:
    """A dialogue as its template writes it, before tokenization."""

    row: int
    dialogue: Dialogue
    template: Template
    lead: list[int]
    prompt: str
    answers: list[list[Segment]]


def _edge(prompt: str, segments: list[Segment]) -> str:
    """The text around the boundary of prompt and answer."""
    answer = segments[0].text if segments else ""
    return prompt[-_EDGE_CHARACTERS:] + answer[:_EDGE_CHARACTERS]


class Encoder:
    """Encodes rows of one method with one tokenizer and the template and normalisation of ``config``.

    Lengths are not limited here; see ``training.data.lengths``.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: CommonConfig, method: str) -> None:
        if tokenizer.eos_token_id is None:
            problem = Problem(
                "model_name", "the tokenizer has no end-of-sequence token.", "Set its eos_token."
            )
            raise SpecError(config.model_name, [problem])
        self.method = method
        self._tokenizer = tokenizer
        self._templates = Templates(config, tokenizer)
        self._steps = config.text_normalization
        self._normalize = normalizer(config.text_normalization)
        self._beginning = Beginning(tokenizer)

    def encode(self, row: Row | Dialogue, number: int = 0) -> Group:
        """The group of one row; ``number`` becomes ``Group.row``.

        Raises:
            RowError: the template cannot write the row.
        """
        dialogue = row.dialogue if isinstance(row, Row) else row
        (encoded,) = self.encode_batch([(number, dialogue)])
        if isinstance(encoded, RowError):
            raise encoded
        return encoded.group

    def encode_batch(self, dialogues: Sequence[tuple[int, Dialogue]]) -> list[Encoded | RowError]:
        """For each numbered dialogue its encoding, or why its template cannot write it; in the order
        given."""
        results: list[Encoded | RowError] = []
        for start in range(0, len(dialogues), _BATCH_ROWS):
            written = [self._write(row, dialogue) for row, dialogue in dialogues[start : start + _BATCH_ROWS]]
            ids = self._tokenize([w for w in written if isinstance(w, _Written)])
            results += [w if isinstance(w, RowError) else self._assemble(w, ids) for w in written]
        return results

    def _write(self, row: int, dialogue: Dialogue) -> _Written | RowError:
        try:
            if self._steps:
                dialogue = dialogue.map_texts(self._normalize)
                self._require_difference(dialogue)
            template = self._templates.of(dialogue)
            lead, prompt = self._beginning.split(template, template.prompt(dialogue))
            return _Written(row, dialogue, template, lead, prompt, template.answers(dialogue))
        except RowError as error:
            return error

    def _require_difference(self, dialogue: Dialogue) -> None:
        """Answers that differed only in what normalisation removes are equal now."""
        chosen, steps = dialogue.answers[:1], ", ".join(self._steps)
        for answer in dialogue.answers[1:]:
            if same(chosen[0].content, answer.content):
                message = f"is equal to the chosen answer after text_normalization: {steps}."
                action = "Replace it, or leave out the step."
                raise RowError(RowProblem("equal_answers", answer.role, message, action))

    def _tokenize(self, written: Sequence[_Written]) -> dict[str, list[int]]:
        """Token ids of every text that the rows need, each text once."""
        texts: dict[str, None] = {}
        for row in written:
            texts.update({row.prompt: None, row.prompt[-_EDGE_CHARACTERS:]: None})
            for segments in row.answers:
                texts.update((segment.text, None) for segment in segments)
                texts[_edge(row.prompt, segments)] = None
        if not texts:
            return {}
        encoded = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return dict(zip(texts, encoded, strict=True))

    def _assemble(self, row: _Written, ids: dict[str, list[int]]) -> Encoded:
        completions = [
            self._completion(segments, answer.role, row.template, ids)
            for segments, answer in zip(row.answers, row.dialogue.answers, strict=True)
        ]
        before = ids[row.prompt[-_EDGE_CHARACTERS:]]
        merges = any(ids[_edge(row.prompt, segments)][: len(before)] != before for segments in row.answers)
        lengths = list(row.dialogue.lengths)
        group = Group(row.lead + ids[row.prompt], completions, row.row, row.dialogue.label, lengths)
        return Encoded(group, row.dialogue, row.template.name, merges)

    def _completion(
        self, segments: list[Segment], role: str, template: Template, ids: dict[str, list[int]]
    ) -> Completion:
        tokens = [token for segment in segments for token in ids[segment.text]]
        trained = [segment.trained for segment in segments for _ in ids[segment.text]]
        eos = self._tokenizer.eos_token_id
        if template.adds_eos and tokens[-1:] != [eos]:
            tokens, trained = [*tokens, eos], [*trained, True]
        return Completion(tokens, role, None if all(trained) else trained)
