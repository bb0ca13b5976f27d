# SPDX-License-Identifier: Apache-2.0
"""The contract between collator, model and objective: one micro-batch of groups on one worker.

Shape legend: N tokens in the row, T scored tokens (targets), C completions, G groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tadrib.training.data.group import Counts
from tadrib.training.engine.layout import AttentionLayout


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Groups of one micro-batch, flattened without padding except on the ``separate`` scoring path."""

    input_ids: Tensor
    """int64 [1, N], or [C, L] on the separate path."""
    position_ids: Tensor
    """int64, shaped like ``input_ids``: 0.. over the prompt; every completion continues from the prompt's end."""
    score_index: Tensor
    """int64 [T]: flat position whose hidden state predicts target t. A completion's first token is predicted by the
    last prompt token, which therefore appears once per completion."""
    targets: Tensor
    """int64 [T]: the token ids to score."""
    completion_of_target: Tensor
    """int64 [T]: the completion that target t belongs to, ascending."""
    group_of_completion: Tensor
    """int64 [C], ascending."""
    roles: list[str]
    """[C]: chosen, rejected, ... in the order of the groups."""
    rows: list[int]
    """[G]: source rows, for error messages."""
    labels: Tensor
    """bool [G]: KTO's desirable flag; True for all other methods."""
    layout: AttentionLayout | None
    """Segments for the registered attention function; None on the dense and separate paths."""
    attention_mask: Tensor | None
    """bool [1, 1, N, N] on the dense path, int64 [C, L] on the separate path, otherwise None."""
    given_lengths: Tensor
    """int64 [C]: answer lengths given by IPO rows; 0 where a row gives none."""
    reference: Tensor | None
    """float32 [C]: summed log-probs under the reference model; None until they are computed."""
    weight: float
    """1.0, or 0.0 for a placeholder: a worker without groups of its own still has to join every collective."""
    step: Counts
    """Counts over the whole optimizer step (all workers, all micro-batches); in evaluation over the whole set."""
    for_reference: PackedBatch | None = None
    """The same groups laid out for a reference model that uses another scoring path."""
    baseline_batch: PackedBatch | None = None
    """The same prompts with the completions that the step's baseline is estimated from. None once it is estimated,
    and for methods without a baseline."""
    baseline: Tensor | None = None
    """Float scalar that all answers of the optimizer step are compared with."""

    @property
    def num_tokens(self) -> int:
        """Real tokens computed here (padding excluded; 0 for a placeholder)."""
        if not self.weight:
            return 0
        if self.attention_mask is not None and self.attention_mask.dim() == 2:
            return int(self.attention_mask.sum())
        return self.input_ids.numel()

    @property
    def prompt_tokens_saved(self) -> int:
        """Prompt tokens that separate sequences would compute again for a group's other completions."""
        if self.layout is None or not self.weight:
            return 0
        return sum(segment.prompt_length for segment in self.layout.segments)

    def to(self, device: torch.device, non_blocking: bool = True) -> PackedBatch:
        return self._with_tensors(lambda tensors: tensors.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PackedBatch:
        return self._with_tensors(lambda tensors: tensors.pin_memory())

    def _with_tensors(self, change: Callable[[Any], Any]) -> PackedBatch:
        # nested batches and the layout hold tensors of their own, and have the same two methods
        changed: dict[str, Any] = {
            f.name: change(value)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor | AttentionLayout | PackedBatch)
        }
        return replace(self, **changed)

    @property
    def step_baseline(self) -> Tensor:
        """`baseline`, for methods that need it. Raises ValueError if it was not computed."""
        if self.baseline is None:
            raise ValueError("this batch has no baseline: none was estimated for its optimizer step")
        return self.baseline

    def model_inputs(self) -> dict:
        """Keyword arguments for a model prepared by `training.engine.policy.install_scoring`."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": self.attention_mask,
            "layout": self.layout,
            "score_index": self.score_index,
            "targets": self.targets,
        }
