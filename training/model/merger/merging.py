# SPDX-License-Identifier: Apache-2.0
"""Merge models tensor by tensor, as a recipe says, in blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.merger import TITLE
from tadrib.training.model.merger.methods import dropped, linear, slerp_coefficients, task_arithmetic, ties
from tadrib.training.model.merger.recipe import MergeRecipe
from tadrib.training.model.merger.settings import Depth
from tadrib.training.model.merger.trimming import Trim
from tadrib.training.model.weight_files.rounding import seeded
from tadrib.training.model.weight_files.source_weights import Weights, blocks

Change = Callable[[Tensor], Tensor]
Step = tuple[Tensor | None, Tensor]
"""A block of the base model, if the method has one, and the same block merged."""


@dataclass(frozen=True, slots=True)
class MergedWeights:
    """The merge of ``models``, whose tensors are computed when they are read.

    ``base`` is the recipe's base model, if its method has one; ``seed`` is that of DARE.
    """

    recipe: MergeRecipe
    base: Weights | None
    models: Sequence[Weights]
    depth: Depth
    seed: int = 0

    @property
    def names(self) -> list[str]:
        return self._first.names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._first.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        return self._first.dtype(name)

    def steps(self, name: str) -> Iterator[Step]:
        """The blocks of one tensor, float32. Raises SpecError where the method is undefined for its values."""
        if not self.dtype(name).is_floating_point:
            yield from self._equal(self._first, name)
            return
        try:
            yield from self._merged(name)
        except ValueError as error:
            raise SpecError(TITLE, [Problem(name, f"{error}.", "Use linear, or other weights.")]) from error

    @property
    def _first(self) -> Weights:
        return self.base or self.models[0]

    def _merged(self, name: str) -> Iterator[Step]:
        match self.recipe.merge_method:
            case "linear":
                normalize, weights = self._shared("normalize", name), self._each("weight", name)
                for parts in self._parallel(self.models, name):
                    yield None, linear(parts, weights, normalize=normalize)
            case "slerp":
                assert self.base is not None
                yield from self._slerp(name, self._shared("t", name), [self.base, *self.models], None)
            case "nuslerp":
                weights = self._each("weight", name)
                total = sum(weights)
                t = weights[1] / total if abs(total) >= 1e-6 else 0.5
                yield from self._slerp(name, t, self.models, self.base)
            case _:
                yield from self._of_deltas(name)

    def _slerp(self, name: str, t: float, pair: Sequence[Weights], origin: Weights | None) -> Iterator[Step]:
        """SLERP of two tensors as seen from ``origin`` (None: from zero), each taken as one long vector."""

        def vectors() -> Iterator[tuple[Tensor, Tensor, Tensor | float]]:
            for left, right, *at in self._parallel([*pair, *([] if origin is None else [origin])], name):
                yield (left - at[0], right - at[0], at[0]) if at else (left, right, 0.0)

        dot = squares = others = 0.0
        for left, right, _ in vectors():
            x, y = left.reshape(-1).double(), right.reshape(-1).double()
            dot, squares, others = dot + float(x @ y), squares + float(x @ x), others + float(y @ y)
        a, b = slerp_coefficients(t, dot, (math.sqrt(squares), math.sqrt(others)))
        for left, right, at in vectors():
            before = at if isinstance(at, Tensor) else left if self.base is not None else None
            yield before, at + (a * left + b * right)

    def _of_deltas(self, name: str) -> Iterator[Step]:
        assert self.base is not None
        weights, normalize = self._each("weight", name), self._shared("normalize", name)
        combine = ties if self.recipe.merge_method.endswith("ties") else task_arithmetic
        scale, changes = self._shared("lambda", name), self._sparsified(name)
        for base, *parts in self._parallel([self.base, *self.models], name):
            deltas = [change(part - base) for change, part in zip(changes, parts, strict=True)]
            yield base, combine(base, deltas, weights, scale=scale, normalize=normalize)

    def _sparsified(self, name: str) -> list[Change]:
        """What is done with the blocks of each model's task vector before they are combined."""
        method = self.recipe.merge_method
        if method == "task_arithmetic":
            return [lambda delta: delta] * len(self.models)
        densities = self._each("density", name)
        if method == "ties":
            return [self._trim(name, *each) for each in zip(self.models, densities, strict=True)]
        rescale = self._shared("rescale", name)
        return [
            _dropping(density, seeded(self.seed, name, str(number)), rescale)
            for number, density in enumerate(densities)
        ]

    def _trim(self, name: str, model: Weights, density: float) -> Trim:
        assert self.base is not None
        pair = [self.base, model]
        deltas = lambda: (part - base for base, part in self._parallel(pair, name))  # noqa: E731
        return Trim(deltas, math.prod(self.base.shape(name)), density)

    def _equal(self, first: Weights, name: str) -> Iterator[Step]:
        """The blocks of integers, such as buffers, which have to be the same in all models."""
        for block, *others in self._parallel([first, *self.models], name):
            if not all(torch.equal(block, other) for other in others):
                message = "has integers that differ between the models, which cannot be merged."
                raise SpecError(TITLE, [Problem(name, message, "Take them from one model.")])
            yield None, block

    def _parallel(self, sources: Sequence[Weights], name: str) -> Iterator[tuple[Tensor, ...]]:
        return zip(*(blocks(each, name) for each in sources), strict=True)

    def _shared(self, key: str, name: str) -> Any:
        return self.recipe.shared(key, name, self.depth.of(name))

    def _each(self, key: str, name: str) -> list[float]:
        return self.recipe.each(key, name, self.depth.of(name))


def _dropping(density: float, generator: torch.Generator, rescale: bool) -> Change:
    return lambda delta: dropped(delta, density, generator, rescale=rescale)
