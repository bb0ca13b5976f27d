# SPDX-License-Identifier: Apache-2.0
"""Encode dialogues as groups of token ids: the prompt as inference sees it, and each answer as it follows that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tadrib.training.config import CommonConfig
from tadrib.training.data.documents import first_token, split_document
from tadrib.training.data.group import Completion, Group
from tadrib.training.data.rows.dialogue import Answer, Dialogue
from tadrib.training.data.rows.messages import same
from tadrib.training.data.rows.models import Row
from tadrib.training.data.rows.row_problem import RowError, RowProblem
from tadrib.training.data.rows.segments import Segment, Template
from tadrib.training.data.templates.bos import Beginning
from tadrib.training.data.templates.choice import Templates
from tadrib.training.data.templates.normalization import normalizer
from tadrib.training.data.templates.tokenizer_template import TokenizerTemplate
from tadrib.training.data.tokenization import ControlTokens, Tokenized, context_texts
from tadrib.training.errors import Problem, SpecError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH_ROWS = 256


@dataclass(frozen=True, slots=True)
class Encoded:
    """A group, and facts about its encoding for the report.

    ``merges`` says that tokenizing prompt and answer as one text would merge tokens across their boundary.
    ``control`` is the first control token found in the row's own texts; empty if there is none.
    """

    group: Group
    dialogue: Dialogue
    template: str
    merges: bool
    control: str = ""


def parts_of(encoded: Encoded, longest: int) -> list[Encoded]:
    """A document in parts of at most ``longest`` tokens; anything else as it is."""
    if encoded.dialogue.part is None:
        return [encoded]
    return [
        replace(encoded, group=group, dialogue=replace(encoded.dialogue, part=number))
        for number, group in enumerate(split_document(encoded.group, longest))
    ]


_NESTED = RowProblem("nesting", "", "is nested too deeply to be rendered.", "Flatten it.")


@dataclass(frozen=True, slots=True)
class _Shown:
    """A dialogue before its template renders it, and what the template is shown of it."""

    row: int
    dialogue: Dialogue
    shown: Dialogue
    template: Template
    control: str
    marked: bool


def _foresee(rows: Sequence[_Shown]) -> None:
    """Have chat templates, which are rendered in another process, render several rows at once."""
    for template in {id(row.template): row.template for row in rows}.values():
        if isinstance(template, TokenizerTemplate):
            template.foresee([row.shown for row in rows if row.template is template])


@dataclass(frozen=True, slots=True)
class _Written:
    """A dialogue rendered by its template, before tokenization. ``marked`` says that control tokens in its texts are
    marked as text."""

    row: int
    dialogue: Dialogue
    template: Template
    lead: list[int]
    prompt: str
    answers: list[list[Segment]]
    control: str
    marked: bool

    def answer_texts(self) -> list[list[str]]:
        return [[segment.text for segment in segments] for segments in self.answers]


class Encoder:
    """Encodes rows of one method with one tokenizer, and the template and normalization of ``config``.

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
        self._control: dict[str, ControlTokens] = {}
        self._ids: dict[int, int] = {}

    def encode(self, row: Row | Dialogue, number: int = 0) -> Group:
        """The group of one row; ``number`` becomes ``Group.row``.

        Raises:
            RowError: the template cannot render the row.
        """
        dialogue = row.dialogue if isinstance(row, Row) else row
        (encoded,) = self.encode_batch([(number, dialogue)])
        if isinstance(encoded, RowError):
            raise encoded
        return encoded.group

    def encode_batch(self, dialogues: Sequence[tuple[int, Dialogue]]) -> list[Encoded | RowError]:
        """The encoding of each numbered dialogue, or why its template cannot render it, in the given order."""
        results: list[Encoded | RowError] = []
        for start in range(0, len(dialogues), _BATCH_ROWS):
            shown = [self._shown(row, dialogue) for row, dialogue in dialogues[start : start + _BATCH_ROWS]]
            _foresee([each for each in shown if isinstance(each, _Shown)])
            written = [self._write(each) if isinstance(each, _Shown) else each for each in shown]
            tokens = self._tokenize([w for w in written if isinstance(w, _Written)])
            results += [w if isinstance(w, RowError) else self._assemble(w, tokens) for w in written]
        return results

    def _shown(self, row: int, dialogue: Dialogue) -> _Shown | RowError:
        try:
            if self._steps:
                dialogue = dialogue.map_texts(self._normalize)
                self._require_difference(dialogue)
            template = self._templates.of(dialogue)
            shown = self._without_eos(dialogue) if template.adds_eos else dialogue
            tokens = self._control_tokens(template)
            control = tokens.first_in(shown.all_texts())
            marked = bool(control) and not template.is_raw
            if marked:
                shown = shown.map_values(tokens.mark)
            return _Shown(row, dialogue, shown, template, control, marked)
        except RowError as error:
            return error
        except RecursionError:
            return RowError(_NESTED)

    def _write(self, row: _Shown) -> _Written | RowError:
        try:
            template = row.template
            lead, prompt = self._beginning.split(template, template.prompt(row.shown))
            answers = template.answers(row.shown)
        except RowError as error:
            return error
        except RecursionError:
            return RowError(_NESTED)
        return _Written(row.row, row.dialogue, template, lead, prompt, answers, row.control, row.marked)

    def _require_difference(self, dialogue: Dialogue) -> None:
        """Raise RowError if normalization has made a rejected answer equal to the chosen one."""
        chosen, steps = dialogue.answers[:1], ", ".join(self._steps)
        for answer in dialogue.answers[1:]:
            if same(chosen[0].content, answer.content):
                message = f"is equal to the chosen answer after text_normalization: {steps}."
                action = "Replace it, or remove the step."
                raise RowError(RowProblem("equal_answers", answer.role, message, action))

    def _without_eos(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue without an EOS at the end of its answers, which the encoder adds itself."""
        eos = str(self._tokenizer.eos_token)
        answers = [Answer(a.role, str(a.content).removesuffix(eos)) for a in dialogue.answers]
        return replace(dialogue, answers=tuple(answers))

    def _control_tokens(self, template: Template) -> ControlTokens:
        if template.name not in self._control:
            self._control[template.name] = ControlTokens(self._tokenizer, template.control_tokens)
        return self._control[template.name]

    def _tokenize(self, written: Sequence[_Written]) -> Tokenized:
        """Tokenize the rows' texts in one batch. Rows with marked texts are tokenized separately, in `_assemble`."""
        tokens = Tokenized(self._tokenizer)
        single: list[str] = []
        several: list[str] = []
        for row in written:
            if row.marked:
                continue
            answers = row.answer_texts()
            single.append(row.prompt)
            context, *wholes = context_texts(row.prompt, answers)
            single.append(context)
            for parts, whole in zip(answers, wholes, strict=True):
                (single if len(parts) == 1 else several).append(whole)
        tokens.add(single)
        tokens.add(several, spans=True)
        return tokens

    def _assemble(self, row: _Written, tokens: Tokenized) -> Encoded | RowError:
        if row.marked:
            tokens = Tokenized(self._tokenizer, marked=True)
        try:
            completions, merges = [], False
            for segments, answer in zip(row.answers, row.dialogue.answers, strict=True):
                completion, joins = self._completion(row, segments, answer.role, tokens)
                completions.append(completion)
                merges = merges or joins
            prompt = row.lead + tokens.ids(row.prompt)
        except RowError as error:
            return error
        if row.dialogue.part is not None and not prompt:
            prompt, completions = first_token(completions)
        lengths = list(row.dialogue.lengths)
        group = Group(self._shared(prompt), completions, row.row, row.dialogue.label, lengths)
        return Encoded(group, row.dialogue, row.template.name, merges, row.control)

    def _completion(
        self, row: _Written, segments: list[Segment], role: str, texts: Tokenized
    ) -> tuple[Completion, bool]:
        cuts = [segment.trained for segment in segments]
        ids, joins = texts.after(row.prompt, [segment.text for segment in segments], cuts)
        tokens = [token for part in ids for token in part]
        trained = [segment.trained for segment, part in zip(segments, ids, strict=True) for _ in part]
        eos = self._tokenizer.eos_token_id
        if row.template.adds_eos and tokens[-1:] != [eos]:
            tokens, trained = [*tokens, eos], [*trained, True]
        return Completion(self._shared(tokens), role, None if all(trained) else trained), joins

    def _shared(self, tokens: list[int]) -> list[int]:
        """The same ids as interned objects: a separate int object for every token takes four times the memory."""
        return list(map(self._ids.setdefault, tokens, tokens))
