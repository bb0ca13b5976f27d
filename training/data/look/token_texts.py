# SPDX-License-Identifier: Apache-2.0
"""The text of each token, also where a character takes several tokens or a token depends on the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTEXT = 4
_MOST = 8
"""Tokens that one character may take; bytes that never become one are then shown as they are."""
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class TokenText:
    """The text that ``ids`` write together: one token, or several that only together are characters."""

    ids: list[int]
    text: str


def token_texts(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], before: Sequence[int] = ()
) -> list[TokenText]:
    """The texts of ``ids``, which follow the tokens ``before``; joined, they are the text of all.

    Each is decoded after a few earlier tokens, because SentencePiece tokenizers drop the space that starts a text, and
    byte-level ones split characters.
    """
    whole = [*before[-_CONTEXT:], *ids]
    start = len(whole) - len(ids)
    found: list[TokenText] = []
    done = start
    for end in range(start + 1, len(whole) + 1):
        context = whole[max(0, done - _CONTEXT) : done]
        head = _decoded(tokenizer, context)
        text = _decoded(tokenizer, [*context, *whole[done:end]])
        unfinished = text.endswith(_UNFINISHED) and end < len(whole) and end - done < _MOST
        if unfinished:
            continue
        found.append(TokenText(whole[done:end], text[len(head) :] if text.startswith(head) else text))
        done = end
    return found


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
