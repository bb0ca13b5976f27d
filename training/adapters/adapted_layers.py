# SPDX-License-Identifier: Apache-2.0
"""Which layers of a model can be adapted, and the error messages for target names that match none of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tadrib.training.compat.peft import refuses
from tadrib.training.config.types import ALL_LINEAR
from tadrib.training.errors import nearest
from tadrib.training.model.language_model import lies_in, other_parts

Advice = tuple[str, str]
"""What is wrong, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The ``modules`` of a model by name, the names of ``linear`` layers that can be adapted, the parts outside the
    language model (``others``), and the last components of names that PEFT refuses to adapt in this family
    (``refused``)."""

    modules: dict[str, nn.Module]
    linear: frozenset[str]
    others: list[str]
    refused: frozenset[str]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Layers:
        others, head = other_parts(model), model.get_output_embeddings()
        modules = dict(model.named_modules())
        inside = {
            name: module
            for name, module in modules.items()
            if module is not head and _is_linear(module) and not lies_in(name, others)
        }
        refused = frozenset(last for last in {_last(name) for name in inside} if refuses(model, last))
        linear = frozenset(name for name in inside if _last(name) not in refused)
        return cls(modules, linear, others, refused)

    @property
    def choice(self) -> str:
        """A sentence with the layers to choose from, by the last component of their names."""
        counts = Counter(map(_last, self.linear))
        return f"It has: {', '.join(f'{name} ({counts[name]})' for name in sorted(counts))}."

    def named(self, target: str) -> list[str]:
        """The modules that PEFT matches with ``target``, an entry of a list."""
        return [name for name in self.modules if name == target or name.endswith(f".{target}")]

    def has(self, target: str) -> bool:
        """Whether ``target`` matches any module of the language model."""
        return any(not lies_in(name, self.others) for name in self.named(target))

    def left_out(self, targets: list[str] | str) -> str | None:
        """A regular expression for PEFT's ``exclude_modules``: what ``targets`` match but must not be adapted."""
        kinds = [rf"(?:{'|'.join(map(re.escape, self.others))})\..*"] if self.others else []
        if targets == ALL_LINEAR and self.refused:
            kinds.append(rf"(?:.*\.)?(?:{'|'.join(sorted(self.refused))})")
        return "|".join(kinds) or None

    def problems(self, targets: list[str] | str) -> Iterator[Advice]:
        """A problem for everything in ``targets`` that matches no layer, or one that cannot be adapted."""
        if not self.linear:
            yield "the model has no linear layer that PEFT can adapt.", "Set use_lora: false."
        elif isinstance(targets, list):
            for target in targets:
                yield from self._problems_of(target)
        elif targets != ALL_LINEAR:
            yield from self._problems_of_pattern(targets)

    def _problems_of(self, target: str) -> Iterator[Advice]:
        found = self.named(target)
        text = [name for name in found if not lies_in(name, self.others)]
        odd = next((name for name in text if name not in self.linear), None)
        if not found:
            close = nearest(target, map(_last, self.linear))
            advice = f"Did you mean {close}? {self.choice}" if close else self.choice
            yield f"the model has no module {target}.", advice
        elif not text:
            yield self._untrained(target, found[0])
        elif odd is not None:
            yield f"{target} is {self._what(odd)}.", self._instead(odd)

    def _problems_of_pattern(self, pattern: str) -> Iterator[Advice]:
        """A pattern must match full names, as PEFT requires, and within the language model only layers."""
        found = [name for name in self.modules if re.fullmatch(pattern, name)]
        text = [name for name in found if not lies_in(name, self.others)]
        odd = next((name for name in text if name not in self.linear), None)
        if not found:
            ends = any(re.search(rf"(?:^|\.)(?:{pattern})$", name) for name in self.linear)
            action = rf"Write .*\.({pattern})." if ends else self._names
            yield f"{pattern} matches no full name, such as {min(self.linear)}.", action
        elif not text:
            yield self._untrained(pattern, found[0])
        elif odd is not None:
            yield (
                f"{pattern} also matches {odd or 'the model itself'}, which is {self._what(odd)}.",
                self._names,
            )

    def _untrained(self, target: str, example: str) -> Advice:
        part = next(part for part in self.others if lies_in(example, [part]))
        return f"{target} is in {part}, which is not trained by rows of text.", self.choice

    def _what(self, name: str) -> str:
        """Describe a module that cannot be adapted."""
        if _last(name) in self.refused:
            return "a layer whose weight the model reads directly, bypassing any adapter"
        return "not a linear layer inside the model"

    def _instead(self, odd: str) -> str:
        inner = [name for name in self.linear if name.startswith(f"{odd}.")]
        return f"Write {'.'.join(min(inner).rsplit('.', 2)[-2:])}." if len(inner) == 1 else self.choice

    @property
    def _names(self) -> str:
        return f"Write the names of layers: [{', '.join(sorted(set(map(_last, self.linear))))}]."


def _is_linear(module: nn.Module) -> bool:
    """Whether ``module`` is a linear layer of `torch.nn`, of GPT-2 (Conv1D) or of a quantization library."""
    return hasattr(module, "in_features") or isinstance(module, Conv1D)


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]
