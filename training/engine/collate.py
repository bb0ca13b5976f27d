# SPDX-License-Identifier: Apache-2.0
"""Collate groups into one `PackedBatch`, for one of three scoring paths.

``packed``: one flat row with the registered attention function. ``dense``: the same row under a 4-D mask.
``separate``: each prompt + completion is a padded sequence of its own, for models whose attention or recurrent state
cannot share a prompt. All three score the same targets in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from tadrib.training.data.group import Completion, Counts, Group
from tadrib.training.engine.batch import PackedBatch
from tadrib.training.engine.layout import build_layout, dense_mask

ScoringPath = Literal["packed", "dense", "separate"]
SCORING_PATHS: tuple[ScoringPath, ...] = get_args(ScoringPath)


class _ModelInputs(NamedTuple):
    input_ids: Tensor
    position_ids: Tensor
    starts: list[tuple[int, int]]
    """For each completion: flat positions of its last prompt token and of its own first token."""
    attention_mask: Tensor | None


def collate(
    groups: Sequence[Group],
    *,
    path: ScoringPath = "packed",
    weight: float = 1.0,
    step: Counts | None = None,
) -> PackedBatch:
    """Flatten groups for one forward pass. ``step`` holds the optimizer step's counts, by default those of ``groups``.

    Raises ValueError if a group has an empty prompt: nothing would predict its first completion token.
    """
    if any(not group.prompt for group in groups):
        raise ValueError("a group needs at least one prompt token (the beginning-of-sequence token will do)")
    inputs = _padded(groups) if path == "separate" else _flattened(groups, dense=path == "dense")
    completions = [completion for group in groups for completion in group.completions]
    scored = [_scored(c, *start) for c, start in zip(completions, inputs.starts, strict=True)]
    counts = torch.tensor([len(targets) for _, targets in scored])
    targets = torch.cat([targets for _, targets in scored])
    return PackedBatch(
        input_ids=inputs.input_ids,
        position_ids=inputs.position_ids,
        score_index=torch.cat([index for index, _ in scored]),
        targets=targets,
        completion_of_target=torch.arange(len(completions)).repeat_interleave(counts),
        group_of_completion=torch.arange(len(groups)).repeat_interleave(
            torch.tensor([len(group.completions) for group in groups])
        ),
        roles=[c.role for c in completions],
        rows=[group.row for group in groups],
        labels=torch.tensor([group.label is not False for group in groups]),
        given_lengths=torch.tensor(
            [length for group in groups for length in group.lengths or [0] * len(group.completions)]
        ),
        reference=_reference(groups),
        layout=build_layout(_lengths(groups)) if path == "packed" else None,
        attention_mask=inputs.attention_mask,
        weight=weight,
        step=Counts(*map(sum, zip(*(group.counts for group in groups), strict=True)))
        if step is None
        else step,
    )


def _lengths(groups: Sequence[Group]) -> list[tuple[int, list[int]]]:
    return [(len(group.prompt), [len(c.tokens) for c in group.completions]) for group in groups]


def _reference(groups: Sequence[Group]) -> Tensor | None:
    # all or nothing: a batch with one unscored group is scored again as a whole
    if any(len(group.reference) != len(group.completions) for group in groups):
        return None
    return torch.tensor([score for group in groups for score in group.reference])


def _scored(completion: Completion, before: int, first: int) -> tuple[Tensor, Tensor]:
    """Flat predictor positions and token ids of a completion's trained tokens.

    ``before`` is the position of the last prompt token, ``first`` that of the completion's own first token.
    """
    tokens = torch.tensor(completion.tokens)
    predictors = torch.arange(first - 1, first - 1 + len(tokens))
    # what stands before a second completion in the flat row is the end of the first one, not the prompt
    predictors[:1] = before
    if completion.trained is None:
        return predictors, tokens
    trained = torch.tensor(completion.trained, dtype=torch.bool)
    return predictors[trained], tokens[trained]


def _flattened(groups: Sequence[Group], dense: bool) -> _ModelInputs:
    tokens: list[int] = []
    positions: list[int] = []
    starts: list[tuple[int, int]] = []
    for group in groups:
        prompt_length = len(group.prompt)
        tokens += group.prompt
        positions += range(prompt_length)
        last_prompt = len(tokens) - 1
        for completion in group.completions:
            starts.append((last_prompt, len(tokens)))
            tokens += completion.tokens
            positions += range(prompt_length, prompt_length + len(completion.tokens))
    mask = dense_mask(_lengths(groups)) if dense else None
    return _ModelInputs(torch.tensor([tokens]), torch.tensor([positions]), starts, mask)


def _padded(groups: Sequence[Group]) -> _ModelInputs:
    sequences = [(g.prompt, c.tokens) for g in groups for c in g.completions]
    width = max(len(prompt) + len(tokens) for prompt, tokens in sequences)
    input_ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    starts = []
    for i, (prompt, tokens) in enumerate(sequences):
        length = len(prompt) + len(tokens)
        input_ids[i, :length] = torch.tensor([*prompt, *tokens])
        mask[i, :length] = 1
        # positions in the flattened [C * L] batch, where `score_index` is applied
        starts.append((i * width + len(prompt) - 1, i * width + len(prompt)))
    positions = torch.arange(width).expand(len(sequences), -1).contiguous()
    return _ModelInputs(input_ids, positions, starts, mask)
