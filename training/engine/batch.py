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
    """Groups of one micro-batch, flattened without padding unless the path is ``separate``."""

    input_ids: Tensor
    """int64 [1, N], or [C, L] on the separate path."""
    position_ids: Tensor
    """int64, as ``input_ids``: 0.. over the prompt; every completion restarts after its prompt."""
    score_index: Tensor
    """int64 [T]: flat position whose hidden state predicts target t. For a completion's first token that is the last
    prompt token, once per completion."""
    targets: Tensor
    """int64 [T]: the token ids to be scored."""
    completion_of_target: Tensor
    """int64 [T]: the completion that target t belongs to, ascending."""
    group_of_completion: Tensor
    """int64 [C], ascending."""
    roles: list[str]
    """[C]: chosen, rejected, ... in the order of the groups."""
    rows: list[int]
    """[G]: source rows, for messages."""
    labels: Tensor
    """bool [G]: KTO's desirable flag; True elsewhere."""
    layout: AttentionLayout | None
    """Segments for the registered attention function; None on the dense and separate paths."""
    attention_mask: Tensor | None
    """bool [1, 1, N, N] on the dense path, int64 [C, L] on the separate path, else None."""
    given_lengths: Tensor
    """int64 [C]: IPO's stated answer lengths, 0 where a row states none."""
    reference: Tensor | None
    """float32 [C]: summed log-probs under the reference model; None until somebody computes them."""
    weight: float
    """0.0 for a stand-in that keeps a worker without groups in step with the others, else 1.0."""
    step: Counts
    """Counts of the whole optimizer step: all workers, all micro-batches; in evaluation of the whole set."""
    for_reference: PackedBatch | None = None
    """The same groups for a reference whose path is another one."""
    apart: PackedBatch | None = None
    """The same prompts with the completions that the step's baseline is made of; None once it is, and where the
    method has none."""
    baseline: Tensor | None = None
    """Float scalar: what the answers of the whole optimizer step are measured against."""

    @property
    def num_tokens(self) -> int:
        """Real tokens computed here (padding excluded; 0 for a stand-in)."""
        if not self.weight:
            return 0
        if self.attention_mask is not None and self.attention_mask.dim() == 2:
            return int(self.attention_mask.sum())
        return self.input_ids.numel()

    @property
    def prompt_tokens_saved(self) -> int:
        """Prompt tokens that separate sequences would compute again for a group's further completions."""
        if self.layout is None or not self.weight:
            return 0
        return sum(segment.prompt_length for segment in self.layout.segments)

    def to(self, device: torch.device, non_blocking: bool = True) -> PackedBatch:
        return self._with_tensors(lambda tensors: tensors.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PackedBatch:
        return self._with_tensors(lambda tensors: tensors.pin_memory())

    def _with_tensors(self, change: Callable[[Any], Any]) -> PackedBatch:
        changed: dict[str, Any] = {
            f.name: change(value)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor | AttentionLayout | PackedBatch)
        }
        return replace(self, **changed)

    @property
    def step_baseline(self) -> Tensor:
        """`baseline`, for methods that need one. Raises ValueError when nobody computed it."""
        if self.baseline is None:
            raise ValueError(
                "this batch has no baseline: it belongs to a step that was not looked at as a whole"
            )
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
