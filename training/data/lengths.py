# SPDX-License-Identifier: Apache-2.0
"""Length limits of groups, and the ``truncation`` policy for those over a limit: error, drop or truncate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tadrib.training.config import CommonConfig
from tadrib.training.config.methods import PreferenceConfig
from tadrib.training.data.group import NEGATIVES, Completion, Group
from tadrib.training.data.rows.models import row_model


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum tokens of a prompt, of a prompt with one completion, and of a group, with the config key of each.

    SFT has one limit, ``max_seq_length``. The preference methods have ``max_prompt_length`` and ``max_length``, with
    TRL's meaning: a prompt that is too long loses its beginning, a completion its end. A group over
    ``max_tokens_per_batch`` is not truncated, because every answer would have to be shortened.
    """

    total: int
    total_key: str
    prompt: int | None = None
    prompt_key: str = "max_prompt_length"
    group: int | None = None
    group_key: str = "max_tokens_per_batch"

    @classmethod
    def of(cls, config: CommonConfig, method: str) -> Limits:
        if not isinstance(config, PreferenceConfig):
            return cls(config.max_seq_length, "max_seq_length")
        budget = config.max_tokens_per_batch
        if budget is not None and row_model(method).is_judged:
            budget -= 1  # leaves at least one token for the baseline answer
        return cls(config.max_length, "max_length", config.max_prompt_length, group=budget)

    def as_dict(self) -> dict[str, int]:
        """Each limit by its config key."""
        limits = {self.prompt_key: self.prompt, self.total_key: self.total, self.group_key: self.group}
        return {key: limit for key, limit in limits.items() if limit is not None}

    def fits(self, group: Group) -> bool:
        return not any(self.exceeded(group))

    def exceeded(self, group: Group) -> Iterator[tuple[str, int]]:
        """The config key of each limit that ``group`` is over, and what it measures."""
        measured = (
            (self.total_key, self.total, longest_sequence(group)),
            (self.prompt_key, self.prompt, len(group.prompt)),
            (self.group_key, self.group, group.num_tokens),
        )
        yield from ((key, length) for key, limit, length in measured if limit is not None and length > limit)

    def cut(self, group: Group, bos: int | None) -> Group | None:
        """``group`` truncated to the limits. None if a completion would have no token left to train on, a rejected
        answer would equal the chosen one, or the group would still exceed a batch.

        A BOS token at the start of a prompt is kept.
        """
        prompt = group.prompt
        if self.prompt is not None and len(prompt) > self.prompt:
            lead = prompt[:1] if prompt[0] == bos else []
            kept = self.prompt - len(lead)
            prompt = lead + prompt[len(prompt) - kept :]
        room = self.total - len(prompt)
        completions = [_shortened(completion, room) for completion in group.completions]
        if room < 1 or any(completion.num_targets == 0 for completion in completions):
            return None
        chosen = [each.tokens for each in completions if each.role == "chosen"]
        if any(each.role in NEGATIVES and each.tokens in chosen for each in completions):
            return None
        cut = replace(group, prompt=prompt, completions=completions)
        return cut if self.group is None or cut.num_tokens <= self.group else None


def longest_sequence(group: Group) -> int:
    """Tokens of the prompt with the longest of its completions."""
    return len(group.prompt) + max((len(completion.tokens) for completion in group.completions), default=0)


def _shortened(completion: Completion, room: int) -> Completion:
    if len(completion.tokens) <= room:
        return completion
    trained = None if completion.trained is None else completion.trained[: max(room, 0)]
    return replace(completion, tokens=completion.tokens[: max(room, 0)], trained=trained)


def fit(group: Group, limits: Limits, policy: str, bos: int | None) -> Group | None:
    """``group`` by the ``truncation`` policy; None if it is left out. Under ``error`` it stays as it is, and the caller
    has to refuse what is over a limit."""
    if policy == "error" or limits.fits(group):
        return group
    return limits.cut(group, bos) if policy == "truncate" else None
