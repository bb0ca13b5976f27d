# SPDX-License-Identifier: Apache-2.0
"""Field types that several sections share, and marks: what is true of a setting beside its type, said on its field,
as in ``Annotated[Location, LocalPath("rows", "driver")]``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Tag

from tadrib.training.config.strategy import is_json


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


def _written_anywhere(text: str) -> str:
    """No file name and no environment takes a NUL."""
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


MAX_NAME_BYTES = 255
"""Of a file or folder, on the file systems of Linux (NAME_MAX); a letter of Arabic takes two."""


def _named_on_disk(location: str) -> str:
    """A path that the file system can be asked about; a URL's parts may be longer."""
    longest = max((len(part.encode()) for part in location.split("/")), default=0)
    if longest > MAX_NAME_BYTES and "://" not in location:
        raise ValueError(
            f"must not hold a file name of {longest} bytes; a file system takes {MAX_NAME_BYTES}"
        )
    return location


def _json_or_named_on_disk(text: str) -> str:
    return text if is_json(text) else _named_on_disk(text)


def listed(value: Any) -> Any:
    """What neighbouring tools also take for a list: one word alone, and ``none`` for an empty one."""
    if value in ("none", ["none"], ("none",)):
        return []
    return [value] if isinstance(value, str) and value.isidentifier() else value


ALL_LINEAR = "all-linear"
"""PEFT's word for every linear layer but the head, in place of names."""
_REGULAR_EXPRESSION = re.compile(r"[\\^$*+?()|\[\]{}]")


def _layers(value: Any) -> Any:
    words = value if isinstance(value, (list, tuple)) else [value]
    is_all = any(isinstance(word, str) and word.replace("_", "-") == ALL_LINEAR for word in words)
    return ALL_LINEAR if is_all else value


def _layers_shape(value: Any) -> str:
    is_pattern = isinstance(value, str) and (value == ALL_LINEAR or _REGULAR_EXPRESSION.search(value))
    return "pattern" if is_pattern else "names"


def _lora_start(value: Any) -> Any:
    """PEFT's `true` is its usual start; its `false` has no name here, and a rule says why."""
    return {True: "kaiming", False: "false"}[value] if isinstance(value, bool) else value


# The upper bounds are far above anything that trains; they are there to catch a slip before a machine has to.
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Index = Annotated[int, Field(ge=0, le=1_000_000_000)]
Few = Annotated[int, Field(ge=1, le=1_000_000)]
Processes = Annotated[int, Field(ge=0, le=10_000)]
Workers = Annotated[int, Field(ge=1, le=10_000)]
Rank = Annotated[int, Field(ge=0, le=100_000)]
Steps = Annotated[int, Field(ge=-1, le=1_000_000_000)]
Positive = Annotated[float, Field(gt=0, le=1_000_000)]
NonNegative = Annotated[float, Field(ge=0, le=1_000_000)]
Share = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Smoothing = Annotated[float, Field(ge=0, lt=0.5)]
Text = Annotated[str, Field(min_length=1, max_length=4_096), AfterValidator(_written_anywhere)]
# Python users also write tuples, and YAML users yes/no: both are unambiguous.
Names = Annotated[list[Text], Field(strict=False)]
Layers = Annotated[
    Annotated[Names, Tag("names")] | Annotated[Text, Tag("pattern")],
    Discriminator(_layers_shape),
    BeforeValidator(_layers),
]
Ranks = dict[Text, Annotated[int, Field(ge=1, le=100_000)]]
Alphas = dict[Text, Few]
LoraStart = Annotated[Text, BeforeValidator(_lora_start, json_schema_input_type=Text | Literal[True])]
Flag = Annotated[bool, Field(strict=False)]
Location = Annotated[Text, BeforeValidator(_path_to_text), AfterValidator(_named_on_disk)]
LongText = Annotated[str, Field(min_length=1, max_length=20_000), AfterValidator(_written_anywhere)]
Document = Annotated[
    LongText,
    BeforeValidator(_path_to_text),
    BeforeValidator(_mapping_to_text, json_schema_input_type=LongText | dict[str, Any]),
    AfterValidator(_json_or_named_on_disk),
]
Schedule = Annotated[
    Literal["no", "steps", "epoch"],
    BeforeValidator(_false_to_no, json_schema_input_type=Literal["no", "steps", "epoch", False]),
]


@dataclass(frozen=True, slots=True)
class LocalPath:
    """The value may be a path, which counts from where the spec was written: of what ``holds`` says, opened by
    ``reader``."""

    holds: Literal["model", "rows", "settings", "runs"]
    reader: Literal["driver", "workers", "all"]

    @property
    def must_exist(self) -> bool:
        """A folder of runs is made where it is missing."""
        return self.holds != "runs"


@dataclass(frozen=True, slots=True)
class MayChange:
    """A later start of a run may set another value, and continues the same run."""


MAY_CHANGE = MayChange()

Mark = TypeVar("Mark", LocalPath, MayChange)


def marks(section: type[BaseModel], kind: type[Mark]) -> dict[str, Mark]:
    """The fields of ``section`` that carry a mark of ``kind``, with it."""
    fields = section.model_fields.items()
    return {key: mark for key, field in fields for mark in field.metadata if isinstance(mark, kind)}
