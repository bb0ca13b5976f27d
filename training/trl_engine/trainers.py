# SPDX-License-Identifier: Apache-2.0
"""TRL's own trainers as ``engine: trl`` runs them: on tokenized rows, with our metric names."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput
from trl import DPOConfig, KTOConfig, SFTConfig, SFTTrainer

from tadrib.training.compat.trl import CPOConfig, Quiet, TokenizedCPO, TokenizedDPO, TokenizedKTO
from tadrib.training.loop.best import BestCheckpointMixin
from tadrib.training.loop.group_trainer import perplexity
from tadrib.training.loop.meter import Meter
from tadrib.training.loop.schedule import ScheduleMixin


class _TadribMixin(Quiet, ScheduleMixin, BestCheckpointMixin):
    """What we add to every stock trainer: our metric names, atomic checkpoints, no model card and no telemetry."""

    arguments: ClassVar[type[TrainingArguments]]
    """The trainer's config class."""
    aux_loss_enabled: bool  # TRL's

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._meter = Meter()
        self._logged_at = time.perf_counter()

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        if model.training:
            self._meter.update(_token_counts(inputs))
        return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        self.forget_token_counts()
        if "loss" in logs:
            now = time.perf_counter()
            totals = self._meter.drain(totals=("tokens", "computed_tokens"))
            self.state.num_input_tokens_seen += int(totals["tokens"])
            logs["num_tokens"] = self.state.num_input_tokens_seen
            logs["tokens_per_second"] = totals["tokens"] / (now - self._logged_at)
            logs["padding"] = 1 - totals["tokens"] / totals["computed_tokens"]
            self._logged_at = now
        super().log(logs, start_time)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        # like ours, eval_loss excludes the router loss
        asked, self.aux_loss_enabled = self.aux_loss_enabled, False
        output = super().evaluation_loop(*args, **kwargs)
        self.aux_loss_enabled = asked
        self._logged_at = time.perf_counter()
        return output


def _token_counts(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    masks = [inputs[name] for name in inputs if name.endswith("attention_mask")]
    if not masks:  # packed without padding
        masks = [torch.ones_like(inputs["input_ids"])]
    computed = sum(mask.numel() for mask in masks)
    if (
        "chosen_attention_mask" in inputs
    ):  # chosen and rejected are padded separately, but computed as one batch
        computed = sum(len(mask) for mask in masks) * max(mask.shape[1] for mask in masks)
    real = torch.stack([mask.sum() for mask in masks])
    return {"tokens": real, "computed_tokens": real.new_tensor([computed])}


class StockSFT(_TadribMixin, SFTTrainer):
    """Uses ``input_ids`` and ``labels`` unchanged. ``eval_loss`` is TRL's mean over batches, not weighted by tokens."""

    arguments = SFTConfig

    def __init__(self, *args: Any, model: PreTrainedModel, **kwargs: Any) -> None:
        config = model.config.get_text_config()
        written = getattr(config, "router_aux_loss_coef", None)
        super().__init__(*args, model=model, **kwargs)
        if written is not None:  # TRL overwrites it, and the config is saved with the model
            config.router_aux_loss_coef = written

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        output.metrics[f"{metric_key_prefix}_perplexity"] = perplexity(
            output.metrics[f"{metric_key_prefix}_loss"]
        )
        return output


class StockDPO(_TadribMixin, TokenizedDPO):
    arguments = DPOConfig


class StockKTO(_TadribMixin, TokenizedKTO):
    arguments = KTOConfig


class StockCPO(_TadribMixin, TokenizedCPO):
    arguments = CPOConfig
