# SPDX-License-Identifier: Apache-2.0
"""Result: the outcome of one start of a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tadrib.training.redaction import redact
from tadrib.training.run.holder import Seconds
from tadrib.training.run.source_rows import SourceRows


class ErrorReport(BaseModel):
    """Why a run failed: the exception's type, its message without credentials, the line of code and the log's path."""

    kind: str
    message: Annotated[str, AfterValidator(redact)]
    place: str = ""
    log: str = ""


class Result(BaseModel):
    """The outcome of one start of a run, as ``result.json`` holds it.

    - ``start``: what training started from; an adapter with its base model (`training.adapters.starting_point`).
    - ``started``: when this start began.
    - ``steps_planned``: None if this start ended before the schedule was known.
    - ``metrics``: the last training metrics.
    - ``evaluation``, ``evaluation_before``: metrics on the held-out rows after training and before the first step;
      None without held-out rows.
    - ``sources``: the rows of each dataset, if the run has several.
    - ``wall_seconds``: duration of this start. ``tokens``: tokens trained on, over all starts.
    - ``path``: the scoring path that the start-up check chose, with its evidence.
    - ``warnings``: the notices of this start, each once (`training.notices`).
    - ``resume``: the command that continues a run that did not finish.
    """

    status: Literal["succeeded", "failed", "stopped"]
    name: str
    method: str
    start: str | None = None
    started: Seconds | None = None
    steps_done: int = Field(default=0, ge=0, lt=10**15)
    steps_planned: int | None = Field(default=None, ge=0, lt=10**15)
    metrics: dict[str, float] = {}
    evaluation: dict[str, float] | None = None
    evaluation_before: dict[str, float] | None = None
    sources: list[SourceRows] = []
    wall_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    tokens: int = 0
    num_workers: int = 1
    path: str | None = None
    warnings: list[str] = []
    versions: dict[str, str] = {}
    error: ErrorReport | None = None
    resume: str | None = None

    model_config = ConfigDict(ser_json_inf_nan="strings")

    @classmethod
    def parse(cls, text: bytes | None) -> Result | None:
        """None if there is no file, or an invalid one."""
        try:
            return cls.model_validate_json(text or b"")
        except ValidationError:
            return None
