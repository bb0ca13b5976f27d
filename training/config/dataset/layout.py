# SPDX-License-Identifier: Apache-2.0
"""How the rows of a dataset are laid out: their format, the names of their columns, and the tags of their messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tadrib.training.config.types import Text
from tadrib.training.errors import nearest

FormatName = Literal[
    "auto",
    "tadrib",
    "alpaca",
    "sharegpt",
    "openai",
    "prompt_completion",
    "hh",
    "implicit_prompt",
    "scored",
    "text",
]
COLUMNS = (
    *("instruction", "input", "response", "output", "history", "system", "tools"),
    *("messages", "conversations", "text", "prompt", "completion", "label", "kto_tag"),
    *("chosen", "rejected", "hard_negatives", "chosen_length", "rejected_length", "completions", "scores"),
)
"""The columns that some format has."""
TAGS = {
    **{"role": "role", "content": "content"},
    **{"system": "system", "user": "user", "assistant": "assistant", "tool": "tool", "call": "function_call"},
}
"""What a dataset may write otherwise, and what stands for it here: two keys of a message, and the roles."""
_OTHER_TAGS = {"observation": "tool", "function": "call"}


def _known_columns(columns: dict[str, str]) -> dict[str, str]:
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            if theirs in COLUMNS:
                raise ValueError(f"maps a column of the formats to that of the file: write {theirs}: {ours}")
            meant = nearest(ours, COLUMNS)
            hint = f"did you mean {meant}?" if meant else f"those of the formats are {', '.join(COLUMNS)}"
            raise ValueError(f"names {ours!r}, which is a column of no format; {hint}")
    twice = [name for name in columns.values() if list(columns.values()).count(name) > 1]
    if twice:
        raise ValueError(f"names the column {twice[0]!r} of the file twice")
    return columns


def _short_tags(tags: Any) -> Any:
    """LLaMA-Factory's names of tags, such as ``role_tag`` and ``observation_tag``, as ours."""
    if not isinstance(tags, Mapping):
        return tags
    short = {str(key).removesuffix("_tag"): value for key, value in tags.items()}
    return {_OTHER_TAGS.get(key, key): value for key, value in short.items()}


def _known_tags(tags: dict[str, str]) -> dict[str, str]:
    for ours in tags:
        if ours not in TAGS:
            meant = nearest(ours, TAGS)
            hint = f"did you mean {meant}?" if meant else f"they are {', '.join(TAGS)}"
            raise ValueError(f"names {ours!r}, which is no tag; {hint}")
    return tags


Format = Annotated[
    FormatName,
    Field(
        description="Format of the rows: `auto` recognises each by its columns and values and tells what was read; a "
        "name forces one. `tadrib` is the method's own form."
    ),
]
Columns = Annotated[
    dict[str, Text],
    AfterValidator(_known_columns),
    Field(
        description="Names that the dataset has for columns of its format, as in "
        "`{instruction: السؤال, response: الجواب}`: first the format's name, then the dataset's."
    ),
]
Tags = Annotated[
    dict[str, Text],
    BeforeValidator(_short_tags),
    AfterValidator(_known_tags),
    Field(
        description="Names that the messages have for their keys (`role`, `content`) and roles (`system`, `user`, "
        "`assistant`, `tool`, `call`), as in `{role: speaker, content: said, user: زائر}`. Those of ShareGPT and "
        "OpenAI need none."
    ),
]


class Layout(BaseModel):
    """The three settings together, as the code that reads rows takes them."""

    model_config = ConfigDict(frozen=True)
    format: Format = "auto"
    columns: Columns = Field(default_factory=dict)
    tags: Tags = Field(default_factory=dict)

    @classmethod
    def of(cls, config: Any) -> Layout:
        """The layout that the keys of ``config`` give: a method's settings, or an entry of a list of datasets."""
        return cls(format=config.format, columns=config.columns, tags=config.tags)


AS_RECOGNISED = Layout()
"""Every row by its own columns and values."""
