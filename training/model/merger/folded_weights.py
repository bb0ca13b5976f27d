# SPDX-License-Identifier: Apache-2.0
"""A base model with a LoRA adapter folded in, as weights that are computed when they are read.

LoRA (Hu et al. 2021, arXiv 2106.09685): ``W' = W + s B A``. DoRA (Liu et al. 2024, arXiv 2402.09353, equation 5):
``W' = m (W + s B A) / |W + s B A|``, the norm over the inputs of each output. All in float32; rounding comes later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from tadrib.training.errors import Problem, SpecError, named
from tadrib.training.model.merger import TITLE
from tadrib.training.model.merger.adapter_tensors import AdapterTensors
from tadrib.training.model.weight_files.source_weights import Weights, row_ranges

HEAD = "lm_head.weight"
_EMBEDDING = re.compile(r"(?:.+\.)?(?:embed_tokens|wte|word_embeddings|embed_in)\.weight")


class FoldedWeights:
    """``base`` with ``adapter`` folded in.

    ``is_tied`` says that the base model's head is its embedding. Where the adapter changes only one of them, or each in
    another way, the head becomes a tensor of its own, and ``is_tied`` false.
    Raises SpecError if the adapter changes tensors that the base model does not have, or has of another shape.
    """

    def __init__(self, base: Weights, adapter: AdapterTensors, title: str, *, is_tied: bool) -> None:
        self.title, self._base, self._adapter = title, base, adapter
        self._norms: dict[str, Tensor] = {}
        self._embedding = next((name for name in base.names if _EMBEDDING.fullmatch(name)), HEAD)
        self.is_tied = is_tied and adapter.keeps_tied(self._embedding, HEAD)
        self._names = [name for name in base.names if name != HEAD or not self.is_tied]
        if is_tied and not self.is_tied and HEAD not in self._names:
            self._names.append(HEAD)
        self._require_fitting()

    @property
    def names(self) -> list[str]:
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        replaced = self._adapter.replaced.get(name)
        return replaced.shape if replaced is not None else self._base.shape(self._stored(name))

    def dtype(self, name: str) -> torch.dtype:
        return self._base.dtype(self._stored(name))

    def steps(self, name: str) -> Iterator[tuple[Tensor | None, Tensor]]:
        """The blocks of one tensor, each with the base model's block, where that has the same shape."""
        compares = name in self._adapter.changed and self.shape(name) == self._base.shape(self._stored(name))
        for first, end in row_ranges(self.shape(name)):
            yield (self.base_rows(name, first, end) if compares else None), self.rows(name, first, end)

    def base_rows(self, name: str, first: int, end: int) -> Tensor:
        """The base model's rows, without the adapter."""
        if (
            name in self._adapter.replaced and name in self._adapter.low_rank
        ):  # an embedding saved with its adapter
            return self._adapter.replaced[name].rows(first, end).float()
        rows = self._base.rows(self._stored(name), first, end)
        if self._stored(name) == name:
            return rows
        return self._with_tokens(
            self._stored(name), rows, first, end
        )  # a head that was the embedding has them too

    def rows(self, name: str, first: int, end: int) -> Tensor:
        if (entry := self._adapter.replaced.get(name)) is not None:
            rows = entry.rows(first, end).float()
            if not rows.isfinite().all():
                message = f"has NaN or infinite values in {name}."
                raise SpecError(TITLE, [Problem(self.title, message, "Use an earlier checkpoint of it.")])
        else:
            rows = self.base_rows(name, first, end)
        if (bias := self._adapter.biases.get(name)) is not None:
            rows = rows + bias[first:end]
        if (change := self._adapter.low_rank.get(name)) is not None:
            rows = rows + change.rows(first, end)
            if change.magnitude is not None:
                rows = rows * self._dora_scale(name, rows, first, end)
        return self._with_tokens(name, rows, first, end)

    def _dora_scale(self, name: str, rows: Tensor, first: int, end: int) -> Tensor:
        change = self._adapter.low_rank[name]
        assert change.magnitude is not None
        if not change.is_transposed:
            return (change.magnitude[first:end] / rows.norm(dim=1))[:, None]
        if name not in self._norms:
            squares = torch.zeros(len(change.magnitude), dtype=torch.float64)
            for begin, stop in row_ranges(self.shape(name)):
                part = self.base_rows(name, begin, stop) + change.rows(begin, stop)
                squares += part.double().square().sum(0)
            self._norms[name] = squares.sqrt().float()
        return change.magnitude / self._norms[name]

    def _with_tokens(self, name: str, rows: Tensor, first: int, end: int) -> Tensor:
        """``rows`` with those replaced that ``trainable_token_indices`` trained."""
        if name not in self._adapter.tokens:
            return rows
        indices, trained = self._adapter.tokens[name]
        for index, row in zip(indices, trained, strict=True):
            if first <= index < end:
                rows[index - first] = row
        return rows

    def _stored(self, name: str) -> str:
        """The name of a tensor in the base model's file, where a tied head is the embedding."""
        return self._embedding if name == HEAD and HEAD not in self._base.names else name

    def _require_fitting(self) -> None:
        adapter, known = self._adapter, set(self._names)
        action = "Give the base model that the adapter was trained on, or copy its folder again."
        tied_away = {HEAD} if self.is_tied else set()
        if unknown := sorted(adapter.changed - known - tied_away):
            message = f"changes {named(unknown[:3])}, which the base model {self._base.title} does not have."
            raise SpecError(TITLE, [Problem(self.title, message, action)])
        for name, change in adapter.low_rank.items():
            if name in known and change.shape != (due := self.shape(name)):
                message = (
                    f"changes {name} as {list(change.shape)}, which in {self._base.title} is {list(due)}."
                )
                raise SpecError(TITLE, [Problem(self.title, message, action)])
