# SPDX-License-Identifier: Apache-2.0
"""The report on a dataset, for `tadrib data check` and for prepared data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tadrib.training.config import CommonConfig
from tadrib.training.config.dataset.layout import Layout
from tadrib.training.data.blocks.bad_rows import ProblemCount
from tadrib.training.data.blocks.encoded_rows import EncodedRows, encode_rows
from tadrib.training.data.blocks.encoding_job import EncodingJob
from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.lengths import Limits
from tadrib.training.data.quality.inspection import inspect
from tadrib.training.data.report.length_bias import LengthBias, length_bias, length_bias_warnings
from tadrib.training.data.report.refusal import one_sided, refusal
from tadrib.training.data.report.statistics import Percentiles, percentiles, repetitions
from tadrib.training.data.report.warnings import data_warnings
from tadrib.training.data.rows.models import row_model
from tadrib.training.data.templates.template_change import template_change
from tadrib.training.redaction import redact

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class BadRowKind:
    """Bad rows of one kind: their count and column, the places of the first ones, and the first one's message."""

    kind: str
    column: str
    count: int
    places: list[int]
    message: str
    action: str


@dataclass(slots=True)
class DataReport:
    """One dataset in numbers. Lengths are in tokens, or in characters without a tokenizer (``length_unit``).

    - ``over_long`` counts rows over a limit; ``cut`` and ``dropped`` count what the truncation policy did to them.
    - ``near_duplicates`` counts rows that nearly repeat an earlier one, ``shared_prompts`` those whose prompt is in the
      evaluation data; ``scripts``, ``vocalised`` (with vowel marks) and ``dialects`` count rows by how they are
      written. They are measured by `tadrib data check` alone.
    - ``largest_id`` is the largest token id.
    - ``boundary_merges`` counts rows whose prompt and answer, tokenized as one text, would merge across their boundary.
    - ``tokens_per_word`` is measured on answers, ``arabic_share`` (0 to 1) on all letters.
    - ``document_parts`` counts the sequences that texts without a prompt make, of at most the longest length each.
    - ``formats`` counts the rows read as each format (`training.data.formats.registry`).
    - ``unknown_columns`` counts the rows with each unused column; ``has_more_columns`` says that more were not counted.
    - ``length_bias`` is None if rows are not pairs.
    - ``epoch_rows`` counts the rows that an epoch trains on: the training rows, unless weights ask for more or fewer.
    - ``sources`` are the reports on several datasets, each with its ``name``, of which this one has the sums.
    - ``refusals`` are the errors with which training would refuse the data.
    """

    dataset: str
    method: str
    source: str
    rows: int
    usable_rows: int
    bad_rows: int
    max_bad_rows: int
    place_unit: str
    problems: list[BadRowKind] = field(default_factory=list)
    blank_lines: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    unknown_columns: dict[str, int] = field(default_factory=dict)
    has_more_columns: bool = False
    length_unit: str = "characters"
    lengths: dict[str, Percentiles] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    truncation: str = "error"
    over_long: int = 0
    cut: int = 0
    dropped: int = 0
    duplicate_rows: int = 0
    duplicate_prompts: int = 0
    near_duplicates: int | None = None
    shared_prompts: int | None = None
    scripts: dict[str, int] = field(default_factory=dict)
    vocalised: int = 0
    dialects: dict[str, int] = field(default_factory=dict)
    largest_id: int | None = None
    answers_per_row: float = 0.0
    arabic_share: float = 0.0
    tokens_per_word: float | None = None
    boundary_merges: int | None = None
    document_parts: int = 0
    templates: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    length_bias: LengthBias | None = None
    train_rows: int | None = None
    epoch_rows: int | None = None
    eval_rows: int | None = None
    warnings: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    eval: DataReport | None = None
    name: str = ""
    sources: list[DataReport] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether training would accept the data."""
        return not self.refusals

    @property
    def truncation_rate(self) -> float:
        """Share of usable rows over a length limit, 0 to 1."""
        return self.over_long / self.usable_rows if self.usable_rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        values |= {"ok": self.ok, "truncation_rate": self.truncation_rate}
        if self.eval is not None:
            values["eval"] = self.eval.to_dict()
        values["sources"] = [source.to_dict() for source in self.sources]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataReport:
        given = {key: value for key, value in values.items() if key not in ("ok", "truncation_rate")}
        given["problems"] = [BadRowKind(**problem) for problem in given["problems"]]
        given["lengths"] = {part: Percentiles(**value) for part, value in given["lengths"].items()}
        bias = given.get("length_bias")
        given["length_bias"] = LengthBias(**bias) if bias else None
        given["eval"] = cls.from_dict(given["eval"]) if given["eval"] else None
        given["sources"] = [cls.from_dict(source) for source in given.get("sources", [])]
        return cls(**given)


def check_data(
    path: str,
    method: str,
    config: CommonConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    held: str | None = None,
) -> DataReport:
    """The report on the dataset at ``path``, for training with ``method`` and ``config``.

    ``held`` is the evaluation data, whose prompts should not be in it. Bad rows are reported, not raised. Without a
    tokenizer, lengths are in characters, and templates and truncation are not checked.

    Raises:
        DataError: the dataset cannot be read at all.
        SpecError: the template or a normalization step does not exist, or does not fit the tokenizer.
    """
    rows = encode_rows(path, EncodingJob(config, method, tokenizer))
    report = build_report(rows, config, method, tokenizer)
    problems = refusal(rows, config, method)
    if row_model(method).is_judged and rows.facts.usable:
        problems += one_sided(path, rows.facts.labels)
    report.refusals = [str(problem) for problem in problems]
    quality = inspect(path, RowReader(method, Layout.of(config)), held)
    report.near_duplicates, report.shared_prompts = quality.near.count, quality.held_prompts
    report.scripts, report.dialects = dict(quality.writing.scripts), dict(quality.writing.dialects)
    report.vocalised = quality.writing.vocalised
    report.warnings += quality.warnings(report.place_unit)
    return report


def build_report(
    rows: EncodedRows, config: CommonConfig, method: str, tokenizer: PreTrainedTokenizerBase | None
) -> DataReport:
    """The report on ``rows``; lengths are those before any truncation."""
    source, facts = rows.source, rows.facts
    report = DataReport(
        dataset=redact(source.name),
        method=method,
        source=source.kind,
        rows=facts.rows,
        usable_rows=facts.usable,
        bad_rows=facts.bad.count,
        max_bad_rows=config.max_bad_rows,
        place_unit=source.unit,
        problems=[_bad_row_kind(counted) for counted in facts.bad.problems.values()],
        blank_lines=facts.blank_lines,
        formats=dict(facts.formats),
        unknown_columns=dict(facts.unknown_columns),
        has_more_columns=facts.has_more_columns,
        truncation=config.truncation,
        over_long=facts.over_long,
        cut=facts.cut,
        dropped=facts.dropped,
        duplicate_rows=repetitions(rows.keys("row_key")),
        duplicate_prompts=repetitions(rows.keys("prompt_key")),
        answers_per_row=facts.answers / max(1, facts.usable),
        arabic_share=facts.arabic / max(1, facts.letters),
        length_unit="characters" if tokenizer is None else "tokens",
        lengths={
            part: percentiles(facts.lengths.get(part, {})) for part in ("prompt", "completion", "total")
        },
    )
    report.length_bias = length_bias(facts, report.length_unit)
    if row_model(method).is_judged:
        report.labels = {kind: facts.labels[kind] for kind in ("desirable", "undesirable")}
    if tokenizer is not None:
        report.largest_id = facts.extent.largest_id if facts.usable else None
        report.limits = Limits.of(config, method).as_dict()
        report.tokens_per_word = facts.word_tokens / facts.words if facts.words else None
        report.boundary_merges = facts.merges.count
        report.document_parts = facts.document_parts
        report.templates = dict(facts.templates)
        report.warnings = [*data_warnings(rows, config), *filter(None, [template_change(config, tokenizer)])]
    report.warnings += length_bias_warnings(report.length_bias, config)
    return report


def _bad_row_kind(counted: ProblemCount) -> BadRowKind:
    return BadRowKind(
        counted.kind, counted.column, counted.count, counted.numbers, counted.message, counted.action
    )
