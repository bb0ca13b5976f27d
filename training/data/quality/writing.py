# SPDX-License-Identifier: Apache-2.0
"""How rows are written: their script, whether with vowel marks, and which dialects their words mark."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tadrib.training.data.quality.row_texts import RowTexts
from tadrib.training.data.templates.normalization import DIACRITICS, LETTERS

VOCALISED = 0.2
"""Vowel marks for each Arabic letter from which a row counts as written with them; a marked text has about 0.7."""
RARE = 0.1
"""Share of rows below which a way of writing is told as rare."""
_MIN_ROWS = 20
_MARKERS = {
    "Egyptian": "ازاي دلوقتي دلوقت عايز عاوز عايزه كده بتاع بتاعه بتاعت اوي علشان عشان ليه ايه مفيش اهو بقي",
    "Levantine": "هيك هلق هلا ليش كتير بدي بدك بدو منيح شوي هون هديك عنجد لسا",
    "Gulf": "وش ابغي ابي الحين وايد شلونك زين يبي تبي هالحين عساك مب",
    "Maghrebi": "بزاف كيفاش علاش واش ديال ديالي غادي دابا برشا توا شنوه بصح",
    "Iraqi": "هسه اكو ماكو شلون هواي لعد گاع",
}
"""Frequent words of one dialect that the others and written Arabic hardly have, folded as texts are."""
_DIALECT_OF = {word: dialect for dialect, words in _MARKERS.items() for word in words.split()}
_ARABIC_LETTERS, _VOWEL_MARKS = re.compile(f"[{LETTERS}]"), re.compile(f"[{DIACRITICS}]")
_LETTERS = re.compile(r"[^\W\d_]")
_LATIN_LETTERS = re.compile(r"[A-Za-z\u00C0-\u024F]")


@dataclass(slots=True)
class Writing:
    """Counts of ``rows``: by the ``scripts`` that most of a row's letters are in (Arabic, Latin, other, or none), of
    the Arabic ones those ``vocalised``, and by the ``dialects`` that mark most of their words, where any does."""

    rows: int = 0
    scripts: Counter[str] = field(default_factory=Counter)
    vocalised: int = 0
    dialects: Counter[str] = field(default_factory=Counter)

    def add(self, row: RowTexts) -> None:
        text = "\n".join(row.dialogue.texts())
        arabic, latin = len(_ARABIC_LETTERS.findall(text)), len(_LATIN_LETTERS.findall(text))
        others = len(_LETTERS.findall(text)) - arabic - latin
        most = max(arabic, latin, others)
        script = {arabic: "Arabic", latin: "Latin"}.get(most, "other") if most > 0 else "none"
        self.rows += 1
        self.scripts[script] += 1
        if script != "Arabic":
            return
        self.vocalised += len(_VOWEL_MARKS.findall(text)) >= VOCALISED * arabic
        marked = Counter(
            _DIALECT_OF[word] for word in f"{row.prompt} {row.answers}".split() if word in _DIALECT_OF
        )
        if marked:
            self.dialects[marked.most_common(1)[0][0]] += 1

    def warnings(self) -> Iterator[str]:
        """Ways of writing that a few rows have and the others do not."""
        arabic = self.scripts["Arabic"]
        minority = min(self.vocalised, arabic - self.vocalised)
        if minority >= _MIN_ROWS and minority < RARE * arabic:
            few = "with" if minority == self.vocalised else "without"
            yield (
                f"{minority:,} of {arabic:,} Arabic rows are written {few} vowel marks, unlike the others: the same "
                "word has other tokens there. text_normalization: [diacritics] removes the marks."
            )
        yield from _rare("letters", self.scripts, self.rows, {"none"})
        yield from _rare("dialect by its marker words", self.dialects, sum(self.dialects.values()), set())


def _rare(what: str, counts: Counter[str], total: int, without: set[str]) -> Iterator[str]:
    found = {name: count for name, count in counts.items() if name not in without}
    rare = {name: count for name, count in found.items() if count < RARE * total}
    if len(found) > 1 and rare and total >= _MIN_ROWS / RARE:
        most, count = max(found.items(), key=lambda item: item[1])
        listed = ", ".join(f"{name} {number:,}" for name, number in rare.items())
        yield (
            f"few rows of some kinds ({what}): {listed}, next to {count:,} {most}; the model will hardly learn them. "
            "Add such rows, or give them as a dataset of their own with a weight (datasets)."
        )
