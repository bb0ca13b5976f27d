# SPDX-License-Identifier: Apache-2.0
"""The texts of a row as they are compared: exactly, and with differences of spelling folded away."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.templates.normalization import STEPS, normalizer

_ARABIC = normalizer(list(STEPS))
_LETTER = "\N{ARABIC LETTER BEH}"
_NUMBER = re.compile(r"\d{1,100}")


class _Folding(dict[int, str]):
    """What each character becomes, by its code point; found out when it first occurs."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        # marks and tatweels count as Arabic beside a letter alone
        is_punctuation = unicodedata.category(character)[0] == "P"
        self[code] = " " if is_punctuation else _ARABIC(_LETTER + character).removeprefix(_LETTER)
        return self[code]


_FOLDING = _Folding()


def folded(text: str) -> str:
    """``text`` in Unicode NFKC and lower case, Arabic letters through every step of `text_normalization`, punctuation
    and white space as single spaces. A text of punctuation alone stays as it is."""
    words = unicodedata.normalize("NFKC", text).casefold().translate(_FOLDING).split()
    return " ".join(words) or text


def digest(content: str) -> int:
    """64 bits that stand for ``content``: among ten million texts, two different ones share them with a chance of 3 in
    a million."""
    data = content.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class RowTexts:
    """Prompt and answers of ``dialogue``, as they are compared."""

    dialogue: Dialogue

    @cached_property
    def key(self) -> int:
        """Equal for rows that are equal in everything that is trained on."""
        return digest(repr(self.dialogue))

    @cached_property
    def prompt_key(self) -> int:
        """Equal for prompts that differ in spelling alone."""
        return digest(self.prompt)

    @cached_property
    def prompt(self) -> str:
        return folded("\n".join(self.dialogue.prompt_texts()))

    @cached_property
    def numbers(self) -> int:
        """Equal for rows with the same numbers in digits, of any script, in the same order."""
        return digest(
            " ".join(str(int(number)) for number in _NUMBER.findall(f"{self.prompt} {self.answers}"))
        )

    @cached_property
    def answers(self) -> str:
        """All answers, each with its role, and the label, so that a rejected answer is not taken for a chosen one."""
        texts = [f"{answer.role} {' '.join(answer.texts())}" for answer in self.dialogue.answers]
        label = "" if self.dialogue.label is None else f"{self.dialogue.label} "
        return label + " ".join(map(folded, texts))
