# SPDX-License-Identifier: Apache-2.0
"""What the `tadrib data` commands take for a dataset's method, settings and tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tadrib.training.config import METHODS, CommonConfig, load_spec
from tadrib.training.config.dataset.source import DataSource
from tadrib.training.errors import Problem, SpecError, nearest

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class DataSettings:
    """``tokenizer`` is None where neither a spec nor a model was named."""

    method: str
    config: CommonConfig
    tokenizer: PreTrainedTokenizerBase | None
    has_spec: bool = False
    name: str = ""
    """Of one of several datasets."""

    def of_file(self, file: str) -> DataSettings:
        """The same for the dataset ``file``."""
        return replace(self, config=self.config.of_source(DataSource(path=file)))

    def each(self, file: str | None) -> list[DataSettings]:
        """The same for ``file``, else for each dataset of the spec, as its ``dataset_path``. Raises SpecError if there
        is neither."""
        if file is not None:
            return [self.of_file(file)]
        if not self.has_spec:
            problem = Problem(
                "FILE", "is missing, and there is no --spec that names one.", "Give one of them."
            )
            raise SpecError("there are no data to look at", [problem])
        return [
            replace(self, config=self.config.of_source(source), name=source.label)
            for source in self.config.sources
        ]


def data_settings(
    *, method: str | None, spec_path: Path | None, model: str | None, with_tokenizer: bool = True
) -> DataSettings:
    """Method and settings of the spec, or the defaults of ``method``; the tokenizer of ``model`` or of the spec's.

    Raises SpecError for a method that is missing or unknown, or a tokenizer that cannot be loaded.
    """
    config: CommonConfig
    if spec_path is not None:
        spec = load_spec(spec_path, [f"method={method}"] if method else [])
        name, config = spec.method, spec.config
    else:
        name = _known(method)
        config = METHODS[name].config()
    if model is not None:
        config = config.model_copy()
        config.model_name = model
    if (model is None and spec_path is None) or not with_tokenizer:
        return DataSettings(name, config, None, spec_path is not None)
    from tadrib.training.model.tokenizer import load_tokenizer

    return DataSettings(name, config, load_tokenizer(config), spec_path is not None)


def _known(method: str | None) -> str:
    if method in METHODS:
        return method
    names = ", ".join(METHODS)
    if method is None:
        problem = Problem(
            "--method", "is missing, and no --spec was given that has it.", f"Use one of {names}."
        )
    else:
        close = nearest(method, METHODS)
        action = f"Did you mean {close}?" if close else f"Use one of {names}."
        problem = Problem("--method", f"{method} is not a method.", action)
    raise SpecError("the data cannot be checked", [problem])
