# SPDX-License-Identifier: Apache-2.0
"""A seen row for the terminal, readable without colour as well: ``+`` before what is trained on, ``|`` before what is
only read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from tadrib.training.data.look.seen_row import Part, SeenRow
from tadrib.training.data.look.token_texts import TokenText
from tadrib.training.data.look.visible import isolated, visible, visible_lines

LEGEND = "+ trained on   | only read   ⏎ line break   · space   id:text of each token"
_ENDS = 24
"""Token cells shown at each end of a longer part: the boundaries are what to look at."""


def render_row(row: SeenRow, width: int) -> RenderableType:
    """For a terminal of ``width`` columns: place, lengths, notes, and each part of ``row`` with its tokens; of a bad
    row, what is wrong with it."""
    head = [Text(" ".join(_heading(row)), style="bold", no_wrap=True, overflow="ignore")]
    head += [Text(f"  note: {visible(note)}", style="yellow") for note in row.notes]
    head += [Text(f"  bad row: {visible(problem)}", style="red") for problem in row.problems]
    return Group(*head, *(item for part in row.parts for item in _part(part, row.unit, width)), Text())


def _heading(row: SeenRow) -> Iterator[str]:
    yield visible(row.place)
    if row.template:
        yield f"  template {row.template}"
    if row.label is not None:
        yield f"  label {str(row.label).lower()}"
    if row.lengths:
        counts = ", ".join(f"{name} {count:,}" for name, count in row.lengths.items())
        yield f"  {row.unit}: {counts}"


def _part(part: Part, unit: str, width: int) -> Iterator[RenderableType]:
    mark, style = ("+", "green") if part.trained else ("|", "dim")
    what = "trained on" if part.trained else "not trained on"
    yield Text(
        f"  {part.role}, {part.length:,} {unit}, {what}", style="bold green" if part.trained else "bold"
    )
    for line in visible_lines(part.text, max(20, width - 8)):
        yield _indented(Text.assemble((f"{mark} ", style), (line, "green" if part.trained else "")), 4)
    if part.tokens:
        yield _indented(Text("  ".join(_cells(part.tokens)), style="dim"), 6)


def _indented(text: Text, columns: int) -> Padding:
    return Padding(text, (0, 0, 0, columns), expand=False)


def _cells(tokens: Sequence[TokenText]) -> Iterator[str]:
    if len(tokens) <= 2 * _ENDS:
        yield from map(_cell, tokens)
        return
    yield from map(_cell, tokens[:_ENDS])
    yield f"… {len(tokens) - 2 * _ENDS:,} more …"
    yield from map(_cell, tokens[-_ENDS:])


def _cell(token: TokenText) -> str:
    ids = "+".join(map(str, token.ids))
    return f"{ids}:{isolated(visible(token.text).replace(' ', '·'))}"
