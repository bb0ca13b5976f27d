# SPDX-License-Identifier: Apache-2.0
"""`tadrib data check`: the report on a dataset, as a table or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tadrib.training.config import METHODS, CommonConfig, load_spec
from tadrib.training.errors import Problem, SpecError, nearest

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

    from tadrib.training.data.report.check import DataReport


def data_report(file: str, *, method: str | None, spec_path: Path | None, model: str | None) -> DataReport:
    """The report on ``file``, with method and settings of the spec, or the defaults of ``method``.

    Tokens are counted by the tokenizer of ``model`` or of the spec's model; without either, lengths are in
    characters.

    Raises SpecError for a method that is missing or unknown, DataError when nothing can be read.
    """
    config: CommonConfig
    if spec_path is not None:
        spec = load_spec(spec_path, [f"method={method}"] if method else [])
        method, config = spec.method, spec.config
    else:
        config = METHODS[_known(method)].config()
    if model is not None:
        config.model_name = model
    from tadrib.training.data.report.check import check_data

    return check_data(file, method or "", config, _tokenizer(config) if model or spec_path else None)


def print_report(report: DataReport, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
        return
    from tadrib.training.data.report.table import render

    Console(highlight=False).print(render(report))


def _known(method: str | None) -> str:
    if method in METHODS:
        return method
    names = ", ".join(METHODS)
    if method is None:
        problem = Problem(
            "--method", "is missing, and there is no --spec that has it.", f"Use one of {names}."
        )
    else:
        close = nearest(method, METHODS)
        action = f"Did you mean {close}?" if close else f"Use one of {names}."
        problem = Problem("--method", f"{method} is not a method.", action)
    raise SpecError("the data cannot be checked", [problem])


def _tokenizer(config: CommonConfig) -> PreTrainedTokenizerBase:
    from tadrib.training.model.tokenizer import load_tokenizer

    return load_tokenizer(config)
