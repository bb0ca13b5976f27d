# SPDX-License-Identifier: Apache-2.0
"""The start-up check that picks the fastest path whose log-probs are right for this very model.

No attention trap raises: a wrong mask or a leaking recurrent state only trains badly. So before training, real groups
packed together are scored on each path in turn and compared with transformers' own forward on every sequence alone; the
first path that agrees is taken. The yardstick is that forward in float32. In 16 bit a path may be as far from it as
transformers' own forward in 16 bit is, for a wrong path can be nearer than a tolerance that lets the rounding pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tadrib.training.compat.transformers import is_recurrent
from tadrib.training.data.group import Group, GroupDataset
from tadrib.training.engine.attention import Unpackable
from tadrib.training.engine.collate import PATHS, Path, collate
from tadrib.training.engine.full_precision import has_half_weights, in_float32
from tadrib.training.engine.gathering import gathered
from tadrib.training.engine.policy import plain_attention, set_path
from tadrib.training.errors import TrainingError

FLOOR = 3e-4
"""Mean |difference| of log-probs that float32 sums in another order may make; right paths were seen below 2e-5, wrong
ones above 2e-3."""
_ATTENDING = {
    "full_attention",
    "sliding_attention",
    "chunked_attention",
    "indexed_attention",
}
_BY_LENGTH = ("dynamic", "longrope")
MOST_COMPARED = 512
"""Targets of one answer whose log-probs are compared."""
MEAN_FACTOR, WORST_FACTOR = 1.5, 3.0
"""How many times the 16-bit error of transformers' own forward a path's may be: on average, and for any one answer,
whose few tokens scatter more."""
_MADE_OF = {
    "packed": "on packed rows, which have segments in place of a mask",
    "dense": "under a mask of all pairs",
}
"""What is strange to a model's code on these paths."""


@dataclass(frozen=True, slots=True)
class PathChoice:
    """The chosen path, its mean |log-prob difference| and what was tried before it: path to difference or error."""

    path: Path
    difference: float
    rejected: dict[str, str]

    @property
    def slower(self) -> str:
        """Why rows are not packed."""
        reasons = "; ".join(f"{path}: {reason}" for path, reason in self.rejected.items())
        return (
            f"attention: rows take the {self.path} path, slower than packed ones, "
            f"as {reasons or 'this model carries state from token to token'}"
        )

    def __str__(self) -> str:
        text = f"{self.path} (differs from separate sequences by {self.difference:.1e} per token)"
        return text if not self.rejected else f"{text}; refused: {self.rejected}"


def probes(*sets: GroupDataset | None) -> list[Group]:
    """Groups that show what a path gets wrong: the longest, which crosses a window or a length that RoPE depends on
    if any does, beside the shortest and the first of each set."""
    found: dict[tuple[int, int], Group] = {}
    for number, groups in enumerate(sets):
        if groups is not None and len(groups):
            lengths = groups.num_tokens
            for i in (int(np.argmax(lengths)), int(np.argmin(lengths)), 0):
                found.setdefault((number, i), groups[i])
    return list(found.values())


def choose_path(model: PreTrainedModel, groups: Sequence[Group]) -> PathChoice:
    """Try the paths on ``groups`` (two or more expose leaks between groups) and leave the model set to the best.

    Raises TrainingError when even separate sequences disagree: the model then does something we do not know.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), gathered(model):
            return _choose(model, groups)
    finally:
        model.train(was_training)


def _choose(model: PreTrainedModel, groups: Sequence[Group]) -> PathChoice:
    with in_float32(model):
        truth = list(_alone(model, groups))
    plain = list(_alone(model, groups)) if has_half_weights(model) else truth
    noise = _Errors.between(plain, truth)
    rejected: dict[str, str] = {}
    for path in PATHS if _may_share(model) else ("separate",):
        try:
            set_path(model, path)
            scored = list(_on_path(model, groups, path))
        except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError) as error:
            rejected[path] = _meaning(path, error)
            continue
        difference = _Errors.between(scored, plain).mean
        if _Errors.between(scored, truth).is_within(noise):
            return PathChoice(path, difference, rejected)
        rejected[path] = f"differs by {difference:.1e} per token from separate sequences"
    raise TrainingError(
        f"no path scores the tokens of {model.config.name_or_path or 'this model'} as transformers does:"
        f" {rejected}. {_advice(model, groups)}"
    )


def _meaning(path: Path, error: Exception) -> str:
    """An error in words that a user can weigh. A RuntimeError, as of a device without memory, keeps its own, and so
    does the path that is nearest to transformers' own."""
    if isinstance(error, Unpackable):
        return str(error)
    if isinstance(error, RuntimeError) or path not in _MADE_OF:
        return f"{type(error).__name__}: {error}"
    return f"the model's own code does not run {_MADE_OF[path]}"


def _advice(model: PreTrainedModel, groups: Sequence[Group]) -> str:
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    limit = rope.get("original_max_position_embeddings") or getattr(config, "max_position_embeddings", 0) or 0
    longest = max(len(g.prompt) + len(c.tokens) for g in groups for c in g.completions)
    if rope.get("rope_type") in _BY_LENGTH and longest > limit:
        return (
            f"Its {rope['rope_type']} RoPE turns every position of a batch by the batch's longest sequence once that"
            f" is longer than {limit} tokens, and rows here have up to {longest}. Limit them to {limit}"
            " (max_seq_length, max_length), or set another rope_type in the model's config.json."
        )
    return "Use `engine: trl` for this model and report it."


@dataclass(frozen=True, slots=True)
class _Errors:
    """|Differences| of log-probs: the mean over tokens, and that of the answer where it is largest."""

    mean: float
    worst: float

    @classmethod
    def between(cls, found: Sequence[Tensor], expected: Sequence[Tensor]) -> _Errors:
        errors = [(f - e).abs() for f, e in zip(found, expected, strict=True)]
        return cls(torch.cat(errors).mean().item(), max(e.mean().item() for e in errors if len(e)))

    def is_within(self, noise: _Errors) -> bool:
        mean_is_right = self.mean <= MEAN_FACTOR * noise.mean + FLOOR
        return mean_is_right and self.worst <= WORST_FACTOR * noise.worst + FLOOR


def _on_path(model: PreTrainedModel, groups: Sequence[Group], path: Path) -> Iterator[Tensor]:
    """Log-probs of each completion's compared targets, from one batch of all ``groups``."""
    batch = collate(groups, path=path).to(model.device)
    counts = [completion.num_targets for group in groups for completion in group.completions]
    for log_probs in model(**batch.model_inputs()).split(counts):
        yield log_probs[_compared(len(log_probs)).to(log_probs.device)]


def _may_share(model: PreTrainedModel) -> bool:
    """Recurrent layers carry state from token to token whatever the mask says (Mamba, gated delta nets, ...)."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    return kinds <= _ATTENDING if kinds else not is_recurrent(model)


def _alone(model: PreTrainedModel, groups: Sequence[Group]) -> Iterator[Tensor]:
    """Log-probs of each completion's compared targets by a plain forward of its sequence alone."""
    with plain_attention(model):
        for group in groups:
            for completion in group.completions:
                ids = torch.tensor([[*group.prompt, *completion.tokens]], device=model.device)
                trained = torch.arange(len(completion.tokens))
                if completion.trained is not None:
                    trained = trained[torch.tensor(completion.trained)]
                places = (len(group.prompt) + trained[_compared(len(trained))]).to(ids.device)
                model(
                    input_ids=ids[:, :1], use_cache=False
                )  # dynamic RoPE keeps the state of the sequence before
                logits = _logits(model, ids, places - 1)
                yield logits.log_softmax(-1).gather(1, ids[0, places, None])[:, 0]


def _logits(model: PreTrainedModel, ids: Tensor, places: Tensor) -> Tensor:
    """Float32 logits [places, V]; of a long sequence all would not fit beside a large vocabulary."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "logits_to_keep" in inspect.signature(type(base).forward).parameters:
        return model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0].float()
    return model(input_ids=ids, use_cache=False).logits[0, places].float()


def _compared(count: int) -> Tensor:
    """Indices of the targets of a completion that are compared: all, or as many evenly spaced ones."""
    return torch.linspace(0, count - 1, min(count, MOST_COMPARED)).round().long()
