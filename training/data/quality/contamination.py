# SPDX-License-Identifier: Apache-2.0
"""Contamination: rows whose text also stands in evaluation data, whatever form these are in."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tadrib.training.data.quality.row_texts import digest, folded
from tadrib.training.data.readers.sources import open_source
from tadrib.training.data.rows.dialogue import Dialogue

WORDS = 13
"""Words of a stretch that counts as copied, as for GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix C)."""
FEWEST_WORDS = 3
"""Words from which a message alone counts as a copied question."""
RULE = (
    f"rows of which a text shares {WORDS} words in a row with any text of the evaluation data, or a message of at "
    f"least {FEWEST_WORDS} words before the answer is the whole of one; spelling, vowel marks and punctuation aside"
)


class EvaluationTexts:
    """What stands in evaluation files: hashes of all texts and of their stretches, 8 bytes each."""

    def __init__(self, names: Sequence[str]) -> None:
        """Read the files ``names``. Raises DataError if one cannot be read."""
        whole, stretches = array("Q"), array("Q")
        for text in (text for name in names for text in _texts(name)):
            plain = folded(text)
            whole.append(digest(plain))
            stretches.extend(_stretches(plain))
        self._whole, self._stretches = _sorted(whole), _sorted(stretches)

    def contain(self, dialogue: Dialogue) -> bool:
        """Whether ``dialogue`` is contaminated by `RULE`."""
        asked = [folded(text) for text in dialogue.prompt_texts()]
        questions = (digest(text) for text in asked if len(text.split()) >= FEWEST_WORDS)
        stretches = (key for text in dialogue.texts() for key in _stretches(folded(text)))
        return _any_in(questions, self._whole) or _any_in(stretches, self._stretches)


def _texts(name: str) -> Iterator[str]:
    for row in open_source(name).rows:
        yield from _strings(row.value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _stretches(plain: str) -> Iterator[int]:
    words = plain.split()
    return (digest(" ".join(words[i : i + WORDS])) for i in range(len(words) - WORDS + 1))


def _sorted(keys: array) -> np.ndarray:
    return np.unique(np.array(keys, dtype=np.uint64))


def _any_in(keys: Iterable[int], known: np.ndarray) -> bool:
    wanted = np.fromiter(keys, dtype=np.uint64)
    if not len(wanted) or not len(known):
        return False
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return bool((known[places] == wanted).any())
