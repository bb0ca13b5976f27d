# SPDX-License-Identifier: Apache-2.0
"""The start-up check that picks the fastest scoring path whose log-probs are right for the model at hand.

Attention bugs raise no error: with a wrong mask or a leaking recurrent state the model just trains badly. So before
training, real groups are packed together, scored on each path in turn, and compared with transformers' own forward of
every sequence alone. The first path that agrees is used. The ground truth is that forward in float32. In 16 bits, a
path may be about as far from it as transformers' own 16-bit forward is: a fixed tolerance that admits the rounding
would also admit wrong paths.
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
from tadrib.training.data.group import Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.engine.attention import UnsupportedInPacking
from tadrib.training.engine.collate import SCORING_PATHS, ScoringPath, collate
from tadrib.training.engine.full_precision import has_half_weights, in_float32
from tadrib.training.engine.gathering import gathered
from tadrib.training.engine.policy import plain_attention, set_scoring_path
from tadrib.training.errors import TrainingError

FLOOR = 3e-4
"""Mean |difference| of log-probs allowed for summation order in float32. Right paths stayed below 2e-5, wrong ones
were above 2e-3."""
_ATTENTION_LAYERS = {
    "full_attention",
    "sliding_attention",
    "chunked_attention",
    "indexed_attention",
}
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
MAX_COMPARED = 512
"""Targets per answer whose log-probs are compared."""
MEAN_FACTOR, WORST_FACTOR = 1.5, 3.0
"""Limits on a path's error, as multiples of the 16-bit error of transformers' own forward: for the mean over all
tokens, and for the worst single answer, whose few tokens vary more."""
_UNUSUAL = {
    "packed": "packed rows, which have segments instead of a mask",
    "dense": "a mask over all pairs of tokens",
}
"""What a model's own attention code has to support on these paths."""


@dataclass(frozen=True, slots=True)
class ScoringPathChoice:
    """The chosen path, its mean |log-prob difference|, and why each faster path was rejected (path to reason)."""

    path: ScoringPath
    difference: float
    rejected: dict[str, str]

    @property
    def slower(self) -> str:
        """A warning that says why rows are not packed."""
        reasons = "; ".join(f"{path}: {reason}" for path, reason in self.rejected.items())
        return (
            f"attention: rows take the {self.path} scoring path, which is slower than packed; "
            f"{reasons or 'this model carries state from token to token'}"
        )

    def __str__(self) -> str:
        text = f"{self.path} (differs from separate sequences by {self.difference:.1e} per token)"
        return text if not self.rejected else f"{text}; rejected: {self.rejected}"


def probes(*sets: GroupDataset | None) -> list[Group]:
    """Groups likely to expose a wrong path: the longest, the shortest and the first of each dataset. If any group
    exceeds a sliding window, or a length at which RoPE changes, the longest does."""
    found: dict[tuple[int, int], Group] = {}
    for number, groups in enumerate(sets):
        if groups is not None and len(groups):
            lengths = groups.num_tokens
            for i in (int(np.argmax(lengths)), int(np.argmin(lengths)), 0):
                found.setdefault((number, i), groups[i])
    return list(found.values())


def choose_scoring_path(
    model: PreTrainedModel, groups: Sequence[Group], autocast: torch.dtype | None = None
) -> ScoringPathChoice:
    """Try the scoring paths on ``groups``, and leave ``model`` set to the fastest one that is right.

    ``autocast`` is the dtype that training computes in over float32 weights: kernels that take 16 bits alone are right
    then, and would fail in float32. Leaks between groups only show with two or more of them. Raises TrainingError if no
    path agrees, not even separate sequences: the model then does something that this engine does not know.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), gathered(model):
            return _choose(model, groups, autocast)
    finally:
        model.train(was_training)


def _choose(
    model: PreTrainedModel, groups: Sequence[Group], autocast: torch.dtype | None
) -> ScoringPathChoice:
    with in_float32(model):
        truth = list(_separately(model, groups))
    with torch.autocast(model.device.type, autocast, enabled=autocast is not None):
        return _first_right(model, groups, truth, rounds=autocast is not None or has_half_weights(model))


def _first_right(
    model: PreTrainedModel, groups: Sequence[Group], truth: Sequence[Tensor], *, rounds: bool
) -> ScoringPathChoice:
    # what rounding alone does in the dtype of training; 0 in float32
    plain = list(_separately(model, groups)) if rounds else truth
    noise = _Errors.between(plain, truth)
    rejected: dict[str, str] = {}
    # fastest first
    for path in SCORING_PATHS if _can_share_prompts(model) else ("separate",):
        try:
            set_scoring_path(model, path)
            scored = list(_on_path(model, groups, path))
        # models with attention code of their own fail in any of these ways on a path they do not support
        except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError) as error:
            rejected[path] = _explain(path, error)
            continue
        difference = _Errors.between(scored, plain).mean
        if _Errors.between(scored, truth).is_within(noise):
            return ScoringPathChoice(path, difference, rejected)
        rejected[path] = f"differs by {difference:.1e} per token from separate sequences"
    raise TrainingError(
        f"no scoring path reproduces transformers' log-probs for {model.config.name_or_path or 'this model'}:"
        f" {rejected}. {_advice(model, groups)}"
    )


def _explain(path: ScoringPath, error: Exception) -> str:
    """Explain an ``error`` to the user. A RuntimeError (such as out of memory) is quoted, and so is any error on the
    separate path, which is closest to transformers' own forward."""
    if isinstance(error, UnsupportedInPacking):
        return str(error)
    if isinstance(error, RuntimeError) or path not in _UNUSUAL:
        return f"{type(error).__name__}: {error}"
    return f"the model's own code does not support {_UNUSUAL[path]}"


def _advice(model: PreTrainedModel, groups: Sequence[Group]) -> str:
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    limit = rope.get("original_max_position_embeddings") or getattr(config, "max_position_embeddings", 0) or 0
    longest = max(len(g.prompt) + len(c.tokens) for g in groups for c in g.completions)
    # the one known cause: such RoPE frequencies depend on the other rows of a batch, so no packing can be right
    if rope.get("rope_type") in _LENGTH_DEPENDENT_ROPE and longest > limit:
        return (
            f"Its {rope['rope_type']} RoPE rotates all positions of a batch by frequencies that depend on the longest"
            f" sequence once that exceeds {limit} tokens, and rows here have up to {longest}. Limit them to {limit}"
            " (max_seq_length, max_length), or set another rope_type in the model's config.json."
        )
    return "Use `engine: trl` for this model and report it."


@dataclass(frozen=True, slots=True)
class _Errors:
    """|Differences| of log-probs in nats: the mean over all tokens, and the mean of the worst answer."""

    mean: float
    worst: float

    @classmethod
    def between(cls, found: Sequence[Tensor], expected: Sequence[Tensor]) -> _Errors:
        errors = [(f - e).abs() for f, e in zip(found, expected, strict=True)]
        return cls(torch.cat(errors).mean().item(), max(e.mean().item() for e in errors if len(e)))

    def is_within(self, noise: _Errors) -> bool:
        mean_is_right = self.mean <= MEAN_FACTOR * noise.mean + FLOOR
        return mean_is_right and self.worst <= WORST_FACTOR * noise.worst + FLOOR


def _on_path(model: PreTrainedModel, groups: Sequence[Group], path: ScoringPath) -> Iterator[Tensor]:
    """Log-probs of each completion's sampled targets, from one batch of all ``groups``."""
    batch = collate(groups, path=path).to(model.device)
    counts = [completion.num_targets for group in groups for completion in group.completions]
    for log_probs in model(**batch.model_inputs()).split(counts):
        yield log_probs[_compared(len(log_probs)).to(log_probs.device)]


def _can_share_prompts(model: PreTrainedModel) -> bool:
    """False for models with recurrent layers (Mamba, gated delta nets, ...), whose state no mask can reset."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    return kinds <= _ATTENTION_LAYERS if kinds else not is_recurrent(model)


def _separately(model: PreTrainedModel, groups: Sequence[Group]) -> Iterator[Tensor]:
    """Log-probs of each completion's sampled targets, from a plain forward of its sequence alone."""
    with plain_attention(model):
        for group in groups:
            for completion in group.completions:
                ids = torch.tensor([[*group.prompt, *completion.tokens]], device=model.device)
                trained = torch.arange(len(completion.tokens))
                if completion.trained is not None:
                    trained = trained[torch.tensor(completion.trained)]
                places = (len(group.prompt) + trained[_compared(len(trained))]).to(ids.device)
                # resets dynamic RoPE, which otherwise keeps the frequencies of the previous, longer sequence
                model(input_ids=ids[:, :1], use_cache=False)
                # the token at a place is predicted by the hidden state before it
                logits = _logits(model, ids, places - 1)
                yield logits.log_softmax(-1).gather(1, ids[0, places, None])[:, 0]


def _logits(model: PreTrainedModel, ids: Tensor, places: Tensor) -> Tensor:
    """Float32 logits [places, V]. All positions of a long sequence would not fit in memory with a large vocabulary."""
    # PEFT's wrapper takes any keyword, so the signature to look at is the base model's
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "logits_to_keep" in inspect.signature(type(base).forward).parameters:
        return model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0].float()
    return model(input_ids=ids, use_cache=False).logits[0, places].float()


def _compared(count: int) -> Tensor:
    """Indices of a completion's targets to compare: all of them, or `MAX_COMPARED` evenly spaced ones."""
    return torch.linspace(0, count - 1, min(count, MAX_COMPARED)).round().long()
