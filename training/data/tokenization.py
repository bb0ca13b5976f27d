# SPDX-License-Identifier: Apache-2.0
"""Token ids of texts as parts of a whole: what follows a prompt gets the tokens it has behind that prompt, and a
control token that somebody wrote into a text stays text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tadrib.training.data.rows.row_problem import RowError, RowProblem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens join within a word, so the words on both sides of a boundary tell whether any would join across it.
_CONTEXT_CHARACTERS = 64


class ControlTokens:
    """The texts that only a template may write as tokens: the tokenizer's special tokens, and the ``marks`` of a
    format that the tokenizer has as tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, marks: Collection[str] = ()) -> None:
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
        known = (special | set(marks)) & {token.content for token in added}
        longest_first = sorted(known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def first_in(self, texts: Iterable[str]) -> str:
        """The first control token written in ``texts``, or an empty text."""
        found = next(filter(None, map(self._pattern.search, texts)), None)
        return found.group() if found else ""

    def mark(self, value: Any) -> Any:
        """``value``, a text or lists and dicts of texts, with control tokens marked as text for ``Tokenized``."""
        from transformers.utils.chat_template_utils import mark_control_tokens

        return mark_control_tokens(value, self._pattern)


class Tokenized:
    """Token ids of texts, each tokenized once.

    ``marked`` says that what ``ControlTokens.mark`` marked in the texts is text: its marks are left out.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, marked: bool = False) -> None:
        self._tokenizer = tokenizer
        self._marked = marked
        self._ids: dict[str, list[int]] = {"": []}
        self._spans: dict[str, list[tuple[int, int]]] = {}

    def add(self, texts: Collection[str], *, spans: bool = False) -> None:
        """Tokenize ``texts`` together, which is faster than one by one; ``spans`` as well says which characters each
        token covers."""
        wanted = [text for text in dict.fromkeys(texts) if text not in (self._spans if spans else self._ids)]
        if self._marked:
            self._ids |= {text: self._encode_marked(text) for text in wanted}
        elif wanted:
            spans = spans and self._tokenizer.is_fast
            encoded = self._tokenizer(
                wanted, add_special_tokens=False, return_offsets_mapping=spans, verbose=False
            )
            self._ids |= zip(wanted, encoded["input_ids"], strict=True)
            if spans:
                self._spans |= zip(wanted, encoded["offset_mapping"], strict=True)

    def ids(self, text: str) -> list[int]:
        if text not in self._ids:
            self.add([text])
        return self._ids[text]

    def after(self, before: str, parts: Sequence[str], cuts: Sequence[bool]) -> tuple[list[list[int]], bool]:
        """The ids of each of ``parts``, which follow ``before`` and one another; and whether tokens would join across
        the end of ``before`` if all were one text.

        The ids are those of the whole. Where a token would straddle a boundary that may not be crossed, because
        generation stops reading and starts writing there, the parts are tokenized apart; ``cuts[i]`` says so of the
        beginning of ``parts[i]``, and it always holds for the end of ``before``.
        """
        context = _end(before)
        first, whole = self.ids(context), self.ids(context + "".join(parts))
        joins = whole[: len(first)] != first
        if not joins:
            ids = whole[len(first) :]
            together = [ids] if len(parts) == 1 else self._dealt(context, parts, cuts, len(first))
            if together is not None:
                return together, False
        apart = []
        for part in parts:
            apart.append(self._one_after(context, part))
            context = _end(context + part)
        return apart, joins

    def _dealt(
        self, context: str, parts: Sequence[str], cuts: Sequence[bool], skipped: int
    ) -> list[list[int]] | None:
        """The tokens of the whole, dealt to the parts in which they begin; None when one straddles a cut, or spans
        are not known."""
        text = context + "".join(parts)
        spans = self._spans.get(text)
        if spans is None:
            return None
        dealt: list[list[int]] = [[] for _ in parts]
        index, end = 0, len(context) + len(parts[0]) if parts else 0
        for token, (start, stop) in zip(self._ids[text][skipped:], spans[skipped:], strict=True):
            while start >= end and index + 1 < len(parts):
                index += 1
                end += len(parts[index])
            straddles = stop > end and index + 1 < len(parts) and cuts[index + 1]
            # an added token may take the white space behind it, whatever part that is in
            if straddles and token not in self._tokenizer.added_tokens_decoder:
                return None
            dealt[index].append(token)
        return dealt

    def _one_after(self, context: str, part: str) -> list[int]:
        """The ids of ``part`` behind ``context``; behind a line break where tokens would join, so that a tokenizer
        that begins texts with a space of its own adds none."""
        for before in (context, "\n"):
            first, both = self.ids(before), self.ids(before + part)
            if both[: len(first)] == first:
                return both[len(first) :]
        return self.ids(part)

    def _encode_marked(self, text: str) -> list[int]:
        from transformers.utils.chat_template_utils import encode_marked_chat

        try:
            return encode_marked_chat(self._tokenizer, text)
        except ValueError as error:
            message = f"holds the text of a control token that cannot be told from the token itself: {error}."
            raise RowError(RowProblem("control_token", "", message, "Remove it from the row.")) from error


def context_texts(prompt: str, answers: Sequence[Sequence[str]]) -> list[str]:
    """The texts that ``Tokenized.after`` needs besides the prompt itself, to be added together beforehand: the end of
    ``prompt`` alone, then followed by each answer."""
    end = _end(prompt)
    return [end, *(end + "".join(parts) for parts in answers)]


def _end(text: str) -> str:
    return text[-_CONTEXT_CHARACTERS:]
