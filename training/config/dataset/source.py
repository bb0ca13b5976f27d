# SPDX-License-Identifier: Apache-2.0
"""DataSource: one of several datasets that a run trains on together."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tadrib.training.config.dataset.layout import Columns, Format, Tags
from tadrib.training.config.locations import is_url
from tadrib.training.config.types import Count, LocalPath, Location, Positive, Share, Text

ROWS = LocalPath("rows", "driver")
LAYOUT = ("format", "columns", "tags")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")
_UNFIT = re.compile(r"[^A-Za-z0-9.-]+")


def _fit_for_metrics(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "must have 1 to 40 Latin letters, digits, dots and hyphens, as it is part of metrics' names"
        )
    return name


class DataSource(BaseModel):
    """One dataset of several: where it is, how much of it is held out, and how much is trained on."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    path: Location
    """The rows, in the forms of `dataset_path`. `format`, `columns` and `tags` say how they are laid out; those that an
    entry leaves out are those beside `datasets`."""
    name: Annotated[Text, AfterValidator(_fit_for_metrics)] | None = None
    """Name in metrics and reports, as in `eval_{name}_loss`; null means the file's, without its extension."""
    format: Format = "auto"
    columns: Columns = Field(default_factory=dict)
    tags: Tags = Field(default_factory=dict)
    split: Share | None = None
    """Share of this dataset's prompts held out with their rows; null means `validation_split`. (Which split of a Hub
    dataset is read stands in the path: `org/name:train`.)"""
    weight: Positive | None = None
    """Share of the rows of an epoch, relative to the other weights. All datasets of a list have one, or none."""
    max_rows: Count | None = None
    """Rows to use of this dataset, drawn by `seed`; null means all. Not together with `weight`."""

    @property
    def label(self) -> str:
        """``name``, or what stands for it: the last part of the path, fit for the names of metrics."""
        if self.name is not None:
            return self.name
        path = self.path.partition("?")[0] if is_url(self.path) else self.path
        last = PurePosixPath(path).name
        stem = last.partition(".")[0] or last
        return _UNFIT.sub("-", stem).strip("-.")[:40] or "data"


Sources = Annotated[list[Annotated[DataSource, Field(strict=False)]], Field(strict=False, max_length=100)]
