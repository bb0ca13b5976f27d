# SPDX-License-Identifier: Apache-2.0
"""A data report as tables for the terminal."""

from __future__ import annotations

from rich.console import Group as RenderGroup
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tadrib.training.data.formats.registry import read_as
from tadrib.training.data.look.visible import visible
from tadrib.training.data.report.check import BadRowKind, DataReport
from tadrib.training.errors import clip


def render(report: DataReport) -> RenderableType:
    """Facts, lengths, bad rows, warnings and refusals of ``report``, and of its evaluation data.

    Bad rows within ``max_bad_rows`` get a table; too many are among the refusals.
    """
    parts: list[RenderableType] = [render(source) for source in report.sources] or [
        _facts(report),
        _lengths(report),
    ]
    if 0 < report.bad_rows <= report.max_bad_rows:
        parts.append(_bad_rows(report))
    told = {f"{each.name}: {text}" for each in report.sources for text in (*each.warnings, *each.refusals)}
    notes = (warning for warning in report.warnings if warning not in told)
    parts += [Text(visible(f"note: {warning}"), style="yellow") for warning in notes]
    parts += [Text(_lines(refusal), style="red") for refusal in report.refusals if refusal not in told]
    parts.append(_verdict(report))
    if report.eval is not None:
        parts.append(render(report.eval))
    return RenderGroup(*parts)


def _lines(refusal: str) -> str:
    """A refusal as it is shown, on lines of its own where it shows those of a spec."""
    return "\n".join(map(visible, refusal.split("\n")))


def _facts(report: DataReport) -> Table:
    table = Table(
        title=Text(visible(f"{report.dataset} as {report.method} rows")),
        title_justify="left",
        show_header=False,
    )
    table.add_column("fact")
    table.add_column("value")
    for name, value in _fact_values(report):
        _add_row(table, name, value)
    return table


def _add_row(table: Table, *cells: str) -> None:
    """Add plain-text cells: in a user's text, square brackets are not markup, and control characters are shown."""
    table.add_row(*(Text(visible(cell)) for cell in cells))


def _fact_values(report: DataReport) -> list[tuple[str, str]]:
    rows = f"{report.rows:,} ({report.usable_rows:,} usable, {report.bad_rows:,} bad)"
    facts = [("rows", rows)]
    if report.formats:
        facts.append(("read as", read_as(report.formats)))
    if report.blank_lines:
        facts.append(("blank lines", f"{report.blank_lines:,}"))
    if report.labels:
        facts.append(("labels", ", ".join(f"{count:,} {kind}" for kind, count in report.labels.items())))
    facts.append(("answers per row", f"{report.answers_per_row:.2f}"))
    if report.length_bias is not None:
        facts.append(("length bias", str(report.length_bias)))
    duplicates = f"{report.duplicate_rows:,} rows, {report.duplicate_prompts:,} prompts"
    if report.near_duplicates is not None:
        duplicates += f"; {report.near_duplicates:,} further rows nearly"
    facts.append(("repeated", duplicates))
    if report.shared_prompts is not None:
        facts.append(("prompts also in the evaluation data", f"{report.shared_prompts:,} rows"))
    if report.scripts:
        facts.append(("written in", ", ".join(f"{name} {count:,}" for name, count in report.scripts.items())))
    if report.vocalised or report.dialects:
        marked = ", ".join(f"{name} {count:,}" for name, count in report.dialects.items()) or "none"
        facts.append(("Arabic rows", f"{report.vocalised:,} with vowel marks; dialect words: {marked}"))
    facts.append(("Arabic letters", f"{report.arabic_share:.1%} of letters"))
    if report.unknown_columns:
        columns = ", ".join(
            f"{clip(name)} ({count:,} rows)" for name, count in report.unknown_columns.items()
        )
        facts.append(("columns not used", f"{columns}, …" if report.has_more_columns else columns))
    if report.length_unit == "tokens":
        facts += _token_facts(report)
    return facts


def _token_facts(report: DataReport) -> list[tuple[str, str]]:
    fertility = "-" if report.tokens_per_word is None else f"{report.tokens_per_word:.2f}"
    limits = ", ".join(f"{key}={value}" for key, value in report.limits.items())
    over = f"{report.over_long:,} rows ({report.truncation_rate:.1%}) are over {limits}"
    if report.cut or report.dropped:
        over += f"; {report.cut:,} cut, {report.dropped:,} dropped"
    templates = ", ".join(f"{name} ({count:,} rows)" for name, count in report.templates.items())
    documents = f"in {report.document_parts:,} parts of at most {limits}"
    return [
        *([("texts", documents)] if report.document_parts else []),
        ("template", templates),
        ("tokens per word", fertility),
        ("over the limits", over),
        ("boundary merges", f"{report.boundary_merges:,} rows"),
    ]


def _lengths(report: DataReport) -> Table:
    table = Table(title=f"length in {report.length_unit}", title_justify="left")
    table.add_column("part")
    for name in ("p50", "p90", "p99", "max"):
        table.add_column(name, justify="right")
    for part, value in report.lengths.items():
        table.add_row(part, *(f"{n:,}" for n in (value.p50, value.p90, value.p99, value.max)))
    return table


def _bad_rows(report: DataReport) -> Table:
    table = Table(title="bad rows", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column(f"{report.place_unit}s")
    table.add_column("column")
    table.add_column("the first one")
    for problem in sorted(report.problems, key=lambda problem: -problem.count):
        first = f"{problem.message} {problem.action}"
        _add_row(table, f"{problem.count:,}", _places(problem), problem.column, first)
    return table


def _places(problem: BadRowKind) -> str:
    listed = ", ".join(map(str, problem.places))
    return f"{listed}, …" if problem.count > len(problem.places) else listed


def _verdict(report: DataReport) -> Text:
    if report.ok:
        return Text("Training accepts these data.", style="green")
    count = len(report.refusals)
    return Text(f"Training refuses these data: {count} problem{'s' if count > 1 else ''}.", style="bold red")
