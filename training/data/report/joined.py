# SPDX-License-Identifier: Apache-2.0
"""The report on several datasets together, and warnings of what sets one of them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tadrib.training.config import CommonConfig
from tadrib.training.data.report.check import DataReport

MANY_PASSES = 5
"""Times that an epoch may use each row of a source before a warning says so."""
UNEQUAL = 20
"""Times that one source may have the rows of another in an epoch before a warning says so."""


def joined_report(reports: Sequence[DataReport], config: CommonConfig) -> DataReport:
    """The report on several sources together: that of the only one, or the sums over them with a report on each."""
    if len(reports) == 1:
        return reports[0]
    total = DataReport(
        dataset=", ".join(report.name for report in reports),
        method=reports[0].method,
        source="datasets",
        rows=0,
        usable_rows=0,
        bad_rows=0,
        max_bad_rows=config.max_bad_rows,
        place_unit="row",
        truncation=config.truncation,
        sources=list(reports),
    )
    for field in ("rows", "usable_rows", "bad_rows", "over_long", "cut", "dropped"):
        setattr(total, field, sum(getattr(report, field) for report in reports))
    for field in ("formats", "templates", "labels"):
        counts = sum((Counter(getattr(report, field)) for report in reports), Counter())
        setattr(total, field, dict(counts))
    if total.labels and all(total.labels.values()):  # a label that one lacks comes from another
        for report in reports:
            report.refusals = [text for text in report.refusals if "[rule: labels_of_both_kinds]" not in text]
    total.refusals = [f"{report.name}: {text}" for report in reports for text in report.refusals]
    total.warnings = [f"{report.name}: {text}" for report in reports for text in report.warnings]
    total.warnings += [text for report in reports if (text := _repeats(report))]
    total.warnings += list(differences(reports))
    return total


def _repeats(report: DataReport) -> str:
    passes = (report.epoch_rows or 0) / (report.train_rows or 1)
    if passes <= MANY_PASSES:
        return ""
    return (
        f"{report.name}: by its weight, an epoch trains {passes:,.1f} times on each of its {report.train_rows:,} rows. "
        "Lower its weight, or use less of the others (max_rows, without weights)."
    )


def differences(reports: Sequence[DataReport]) -> Iterator[str]:
    """Sources of which an epoch has hardly any row beside another, and those written in another way."""
    rows = {report.name: report.epoch_rows or report.usable_rows for report in reports}
    most, least = max(rows, key=rows.__getitem__), min(rows, key=rows.__getitem__)
    if rows[most] > UNEQUAL * rows[least]:
        yield (
            f"{most} has {rows[most]:,} rows in an epoch, {least} {rows[least]:,}: the model will hardly learn the "
            "latter. Give the datasets weights, or the larger one max_rows."
        )
    shares = {r.name: r.vocalised / arabic for r in reports if (arabic := r.scripts.get("Arabic", 0))}
    marked, plain = (
        max(shares, key=shares.__getitem__, default=""),
        min(shares, key=shares.__getitem__, default=""),
    )
    if shares and shares[marked] - shares[plain] > 0.5:
        yield (
            f"{marked} has vowel marks in {shares[marked]:.0%} of its Arabic rows, {plain} in {shares[plain]:.0%}: the "
            "same word has other tokens there. text_normalization: [diacritics] removes the marks."
        )
