# SPDX-License-Identifier: Apache-2.0
"""An encoding job: all that decides what becomes of a row, to be sent to other processes and to name the result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from tadrib.training.config import METHODS, CommonConfig
from tadrib.training.config.dataset.layout import Layout
from tadrib.training.data.lengths import Limits
from tadrib.training.data.rows.models import Row, row_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FORMAT = 1
"""Of the files of blocks; raised when they change, so that older ones are not read."""
_KEYS = ("instruction_template", "response_template", "text_normalization", "truncation")


@dataclass(frozen=True)
class EncodingJob:
    """Rows of ``method`` become groups by ``config`` and ``tokenizer``; without a tokenizer they are only checked."""

    config: CommonConfig
    method: str
    tokenizer: PreTrainedTokenizerBase | None

    def digest(self) -> bytes:
        """Equal for jobs that make the same of the same rows: the method counts by the form of its rows alone."""
        assert self.tokenizer is not None
        settings = {
            "format": _FORMAT,
            "rows": _form(row_model(self.method)),
            "layout": Layout.of(self.config).model_dump(),
            "limits": Limits.of(self.config, self.method).as_dict(),
            "keys": {key: getattr(self.config, key, None) for key in _KEYS},
            "made_by": {name: metadata.version(name) for name in ("tadrib", "transformers", "tokenizers")},
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        digest.update(_identity(self.tokenizer))
        return digest.digest()

    def __getstate__(self) -> dict[str, Any]:
        # callbacks are any objects of the caller's, and encode nothing
        given = self.config.model_copy(update={"callbacks": []})
        return {**self.__dict__, "config": given, "registered": METHODS[self.method]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        METHODS.setdefault(state["method"], state.pop("registered"))  # one of the caller's own
        self.__dict__.update(state)


def _form(model: type[Row]) -> str:
    """The row model, or the one it is derived from without a difference, as DPO's and SimPO's are."""
    base = model
    while not any(name[:2] != "__" and name not in _NO_DIFFERENCE for name in vars(base)):
        base = base.__mro__[1]
    return f"{base.__module__}.{base.__qualname__}"


_NO_DIFFERENCE = {"_abc_impl", "model_config", "model_post_init"}
"""What every class of pydantic's has."""


def _identity(tokenizer: PreTrainedTokenizerBase) -> bytes:
    """Everything that decides token ids, and how conversations are rendered."""
    if tokenizer.is_fast:
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        backend = {key: value for key, value in backend.items() if key not in ("truncation", "padding")}
    else:
        backend = tokenizer.get_vocab()
    special = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    found = [type(tokenizer).__name__, tokenizer.chat_template, special, backend]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).digest()
