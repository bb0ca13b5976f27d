# SPDX-License-Identifier: Apache-2.0
"""Tokenize the parts of a text in context: an answer gets the token ids it has after its prompt, and a control token
written in a user's text stays text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tadrib.training.data.rows.row_problem import RowError, RowProblem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens merge only within a word, so a few characters before a boundary show whether any would merge across it.
_CONTEXT_CHARACTERS = 64


class ControlTokens:
    """Texts that only a template may write as control tokens: the tokenizer's special tokens, and those ``marks`` of a
    chat format that the tokenizer has as tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, marks: Collection[str] = ()) -> None:
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
        known = (special | set(marks)) & {token.content for token in added}
        longest_first = sorted(known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def first_in(self, texts: Iterable[str]) -> str:
        """The first control token found in ``texts``; empty if there is none."""
        found = next(filter(None, map(self._pattern.search, texts)), None)
        return found.group() if found else ""

    def mark(self, value: Any) -> Any:
        """``value`` (a text, or lists and dicts of texts) with control tokens marked as text, for ``Tokenized``."""
        from transformers.utils.chat_template_utils import mark_control_tokens

        return mark_control_tokens(value, self._pattern)


class Tokenized:
    """Token ids of texts, each tokenized once.

    ``marked`` says that the texts contain marks by ``ControlTokens.mark``, which are removed.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, marked: bool = False) -> None:
        self._tokenizer = tokenizer
        self._marked = marked
        self._ids: dict[str, list[int]] = {"": []}
        self._spans: dict[str, list[tuple[int, int]]] = {}

    def add(self, texts: Collection[str], *, spans: bool = False) -> None:
        """Tokenize ``texts`` in one batch, faster than one by one; ``spans`` also records which characters each token
        covers."""
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
        """The ids of each of ``parts``, which follow ``before`` and each other; and whether tokens would merge across
        the end of ``before`` if everything were one text.

        The ids are those of the whole text, unless a token would straddle a boundary at which generation starts; then
        the parts are tokenized separately. ``cuts[i]`` marks the beginning of ``parts[i]`` as such a boundary; the end
        of ``before`` always is one.
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
        """The tokens of the whole text, assigned to the parts in which they begin; None if one straddles a cut, or
        spans are unknown."""
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
            # an added token may absorb the whitespace after it, even from the next part
            if straddles and token not in self._tokenizer.added_tokens_decoder:
                return None
            dealt[index].append(token)
        return dealt

    def _one_after(self, context: str, part: str) -> list[int]:
        """The ids of ``part`` after ``context``. If tokens would merge, after a line break instead, so that a tokenizer
        that starts texts with a space adds none."""
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
            message = (
                f"contains the text of a control token that cannot be told from the token itself: {error}."
            )
            raise RowError(RowProblem("control_token", "", message, "Remove it from the row.")) from error


def context_texts(prompt: str, answers: Sequence[Sequence[str]]) -> list[str]:
    """The texts that ``Tokenized.after`` will look up, to be tokenized in one batch: the end of ``prompt`` alone, then
    followed by each answer."""
    end = _end(prompt)
    return [end, *(end + "".join(parts) for parts in answers)]


def _end(text: str) -> str:
    return text[-_CONTEXT_CHARACTERS:]
