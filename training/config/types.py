# SPDX-License-Identifier: Apache-2.0
"""Field types that several sections share."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field


def _path_to_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _mapping_to_text(value: Any) -> Any:
    """JSON, which a spec can carry to other machines; what JSON cannot hold stays as it is, and is refused."""
    try:
        return json.dumps(value, allow_nan=False) if isinstance(value, Mapping) else value
    except (TypeError, ValueError):
        return value


def _false_to_no(value: Any) -> Any:
    """YAML 1.1 readers, Helm's among them, turn an unquoted ``no`` into false."""
    return "no" if value is False else value


Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Smoothing = Annotated[float, Field(ge=0, lt=0.5)]
# Python users also write tuples, and YAML users yes/no: both are unambiguous.
Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(strict=False)]
Flag = Annotated[bool, Field(strict=False)]
Text = Annotated[str, Field(min_length=1)]
Location = Annotated[Text, BeforeValidator(_path_to_text)]
Document = Annotated[
    Location, BeforeValidator(_mapping_to_text, json_schema_input_type=Text | dict[str, Any])
]
Schedule = Annotated[
    Literal["no", "steps", "epoch"],
    BeforeValidator(_false_to_no, json_schema_input_type=Literal["no", "steps", "epoch", False]),
]
