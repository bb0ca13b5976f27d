# SPDX-License-Identifier: Apache-2.0
"""The report on a dataset, for `tadrib data check` and for prepared data."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tadrib.training.config import CommonConfig
from tadrib.training.config.dataset.layout import Layout
from tadrib.training.data.formats.row_reader import RowReader
from tadrib.training.data.group import Group
from tadrib.training.data.lengths import Limits
from tadrib.training.data.loading import Loaded, load, one_sided, refusal
from tadrib.training.data.quality.inspection import inspect
from tadrib.training.data.report.length_bias import LengthBias, length_bias, length_bias_warnings
from tadrib.training.data.report.statistics import (
    Percentiles,
    character_lengths,
    percentiles,
    repetitions,
    token_lengths,
    tokens_per_word,
)
from tadrib.training.data.report.warnings import data_warnings
from tadrib.training.data.rows.models import row_model
from tadrib.training.data.split import prompt_key
from tadrib.training.data.templates.normalization import arabic_share
from tadrib.training.data.templates.template_change import template_change
from tadrib.training.data.validation import ProblemCount
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
    loaded = load(path, config, method, tokenizer)
    report = build_report(loaded, config, method, tokenizer)
    problems = refusal(loaded, config, method, tokenizer)
    if row_model(method).is_judged and loaded.dialogues:
        problems += one_sided(path, [dialogue.label for dialogue in loaded.dialogues])
    report.refusals = [str(problem) for problem in problems]
    quality = inspect(path, RowReader(method, Layout.of(config)), held)
    report.near_duplicates, report.shared_prompts = quality.near.count, quality.held_prompts
    report.scripts, report.dialects = dict(quality.writing.scripts), dict(quality.writing.dialects)
    report.vocalised = quality.writing.vocalised
    report.warnings += quality.warnings(report.place_unit)
    return report


def build_report(
    loaded: Loaded, config: CommonConfig, method: str, tokenizer: PreTrainedTokenizerBase | None
) -> DataReport:
    """The report on ``loaded``, before any truncation."""
    validated = loaded.validated
    dialogues = [dialogue for dialogue in loaded.dialogues if not dialogue.part]
    report = DataReport(
        dataset=redact(validated.source.name),
        method=method,
        source=validated.source.kind,
        rows=validated.num_rows,
        usable_rows=len(dialogues),
        bad_rows=validated.bad.count,
        max_bad_rows=config.max_bad_rows,
        place_unit=validated.source.unit,
        problems=[_bad_row_kind(counted) for counted in validated.bad.problems.values()],
        blank_lines=validated.source.blank_lines,
        formats=dict(validated.formats),
        unknown_columns=dict(validated.unknown_columns),
        has_more_columns=validated.has_more_columns,
        truncation=config.truncation,
        duplicate_rows=repetitions(repr(dialogue) for dialogue in dialogues),
        duplicate_prompts=repetitions(map(prompt_key, dialogues)),
        answers_per_row=sum(len(d.answers) for d in dialogues) / max(1, len(dialogues)),
        arabic_share=arabic_share(text for dialogue in dialogues for text in dialogue.texts()),
        length_bias=length_bias(loaded),
    )
    if row_model(method).is_judged:
        labels = Counter("desirable" if dialogue.label else "undesirable" for dialogue in dialogues)
        report.labels = {kind: labels[kind] for kind in ("desirable", "undesirable")}
    if tokenizer is None:
        report.lengths = {part: percentiles(n) for part, n in character_lengths(dialogues).items()}
    else:
        _add_tokens(report, loaded, config)
        report.warnings += filter(None, [template_change(config, tokenizer)])
    report.warnings += length_bias_warnings(report.length_bias, config)
    return report


def _add_tokens(report: DataReport, loaded: Loaded, config: CommonConfig) -> None:
    limits = Limits.of(config, report.method)
    report.length_unit = "tokens"
    report.lengths = {part: percentiles(n) for part, n in token_lengths(loaded.encoded).items()}
    report.largest_id = max((_largest(item.group) for item in loaded.encoded), default=None)
    report.limits = limits.as_dict()
    report.over_long = sum(not limits.fits(item.group) for item in loaded.encoded)
    report.tokens_per_word = tokens_per_word(loaded.encoded)
    report.boundary_merges = sum(item.merges for item in loaded.encoded)
    report.document_parts = sum(item.dialogue.part is not None for item in loaded.encoded)
    report.templates = dict(Counter(item.template for item in loaded.encoded))
    report.warnings = data_warnings(loaded, config)


def _largest(group: Group) -> int:
    return max(max(tokens, default=0) for tokens in (group.prompt, *(c.tokens for c in group.completions)))


def _bad_row_kind(counted: ProblemCount) -> BadRowKind:
    return BadRowKind(
        counted.kind, counted.column, counted.count, counted.numbers, counted.message, counted.action
    )
