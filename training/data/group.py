# SPDX-License-Identifier: Apache-2.0
"""The interface between data and engine: a *group* is one prompt and its completions, as token ids."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

ROLES = ("response", "chosen", "rejected", "hard_negative", "completion", "kl")
"""The role of a completion in its group; ``kl`` is another row's answer, for KTO's baseline."""
NEGATIVES = ("rejected", "hard_negative")


@dataclass(frozen=True, slots=True)
class Completion:
    """Tokens that follow a prompt. ``trained[i]`` says whether token ``i`` is scored; None means all are."""

    tokens: list[int]
    role: str
    trained: list[bool] | None = None

    @property
    def num_targets(self) -> int:
        return len(self.tokens) if self.trained is None else sum(self.trained)


class Counts(NamedTuple):
    """The denominators of losses, for one group or summed over several.

    ``targets`` counts scored tokens, ``pairs`` each chosen answer with each of its negatives, ``chosen_targets`` scored
    tokens of chosen answers, and ``paired_chosen_targets`` those once per pair.
    """

    groups: int = 0
    targets: int = 0
    pairs: int = 0
    chosen_targets: int = 0
    paired_chosen_targets: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt with its completions.

    ``row`` is the 0-based number of the source row, for error messages. ``label`` is KTO's (True = desirable).
    ``lengths`` are the optional lengths given by IPO rows, one per completion. ``reference`` has the reference model's
    summed log-prob of each completion, if precomputed.
    """

    prompt: list[int]
    completions: list[Completion]
    row: int
    label: bool | None = None
    lengths: list[int] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens that the engine computes: the prompt once, and every completion."""
        return len(self.prompt) + sum(len(c.tokens) for c in self.completions)

    def split(self, role: str) -> tuple[Group, Group]:
        """Split into two groups with the same prompt: without the completions of ``role``, and with only those."""
        numbers = range(len(self.completions))
        apart = [i for i in numbers if self.completions[i].role == role]
        return self._with([i for i in numbers if i not in apart]), self._with(apart)

    def _with(self, kept: list[int]) -> Group:
        return replace(
            self,
            completions=[self.completions[i] for i in kept],
            lengths=[self.lengths[i] for i in kept if self.lengths],
            reference=[self.reference[i] for i in kept if self.reference],
        )

    @property
    def counts(self) -> Counts:
        chosen = sum(c.num_targets for c in self.completions if c.role == "chosen")
        pairs = sum(c.role in NEGATIVES for c in self.completions)
        return Counts(
            groups=1,
            targets=sum(c.num_targets for c in self.completions),
            pairs=pairs,
            chosen_targets=chosen,
            paired_chosen_targets=chosen * pairs,
        )
