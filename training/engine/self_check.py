# SPDX-License-Identifier: Apache-2.0
"""The start-up check that picks the fastest path whose log-probs are right for this very model.

No attention trap raises: a wrong mask or a leaking recurrent state only trains badly. So before training, two real
groups packed together are scored on each path in turn and compared with transformers' own forward on every sequence
alone; the first path that agrees is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.data.group import Group
from training.engine.collate import PATHS, Path, collate
from training.engine.gathering import gathered
from training.engine.policy import plain_attention, set_path
from training.errors import TrainingError

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Largest mean |difference| of log-probs; a wrong mask was seen to cost 2e-2 to 6e-1 in float32."""


@dataclass(frozen=True, slots=True)
class PathChoice:
    """The chosen path, its mean |log-prob difference| and what was tried before it: path to difference or error."""

    path: Path
    difference: float
    rejected: dict[str, str]

    def __str__(self) -> str:
        text = f"{self.path} (differs from separate sequences by {self.difference:.1e} per token)"
        return text if not self.rejected else f"{text}; refused: {self.rejected}"


def choose_path(model: PreTrainedModel, groups: Sequence[Group]) -> PathChoice:
    """Try the paths on ``groups`` (two or more expose leaks between groups) and leave the model set to the best.

    Raises TrainingError when even separate sequences disagree: the head then does something we do not know.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), gathered(model):
            return _choose(model, groups)
    finally:
        model.train(was_training)


def _choose(model: PreTrainedModel, groups: Sequence[Group]) -> PathChoice:
    expected = _reference(model, groups)
    tolerance = TOLERANCE.get(model.dtype, TOLERANCE[torch.bfloat16])
    rejected: dict[str, str] = {}
    for path in PATHS if _may_share(model) else ("separate",):
        try:
            set_path(model, path)
            scored = model(**collate(groups, path=path).to(model.device).model_inputs())
        except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            rejected[path] = f"{type(error).__name__}: {error}"
            continue
        difference = (scored - expected).abs().mean().item()
        if difference <= tolerance:
            return PathChoice(path, difference, rejected)
        rejected[path] = f"differs by {difference:.1e}"
    raise TrainingError(
        f"no path scores this model's tokens as transformers does: {rejected}. "
        "Use `engine: trl` for this model and report it."
    )


def _may_share(model: PreTrainedModel) -> bool:
    """Recurrent layers carry state from token to token whatever the mask says (Mamba, gated delta nets, ...)."""
    attending = {"full_attention", "sliding_attention", "chunked_attention"}
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    return not getattr(model, "_is_stateful", False) and kinds <= attending


def _reference(model: PreTrainedModel, groups: Sequence[Group]) -> Tensor:
    """Log-probs of the groups' targets by plain forwards, one sequence at a time, [T]."""
    scored = []
    with plain_attention(model):
        for group in groups:
            for completion in group.completions:
                ids = torch.tensor([[*group.prompt, *completion.tokens]], device=model.device)
                logits = model(input_ids=ids, use_cache=False).logits[0, len(group.prompt) - 1 : -1]
                targets = ids[0, len(group.prompt) :]
                log_probs = logits.float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
                if completion.trained is not None:
                    log_probs = log_probs[torch.tensor(completion.trained, device=log_probs.device)]
                scored.append(log_probs)
    return torch.cat(scored)
