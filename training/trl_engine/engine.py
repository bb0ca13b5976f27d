# SPDX-License-Identifier: Apache-2.0
"""``engine: trl``: the same spec and the same tokenized rows on the stock trainers of TRL 1.16.

Only the inner trainer differs; data, templates, model, adapters, optimizer, checkpoints and generation are ours. Rows
arrive tokenized and truncated, so TRL does neither. What remains TRL's:

- the order of rows (KTO's is the same in all epochs) and the metrics;
- losses averaged over micro-batch means, also in evaluation, where KTO's baseline depends on the batch and so on
  `per_device_eval_batch_size`;
- adapters of a quantized model in bfloat16, where ours are in float32;
- the reference, which is computed in every step, even with ``reference: cache``.

``num_tokens`` and ``tokens_per_second`` count a prompt once per answer, because TRL computes it that often.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

from datasets import Dataset
from transformers import set_seed

from tadrib.training.base_trainer import BaseTrainer
from tadrib.training.config import METHODS, CommonConfig
from tadrib.training.config.methods import PreferenceConfig, ReferencedConfig
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.prepare import PreparedData
from tadrib.training.engine.router_loss import router_coefficient
from tadrib.training.errors import SpecError
from tadrib.training.loop.arguments import training_arguments
from tadrib.training.model.load import load_model
from tadrib.training.model.source import ModelSource
from tadrib.training.model.tokenizer import load_tokenizer
from tadrib.training.preference_watch import PreferenceWatch
from tadrib.training.trl_engine.rows import refused_rows
from tadrib.training.trl_engine.translation import Translation


def create_trl_trainer(method: str, config: CommonConfig, data: PreparedData | None = None) -> BaseTrainer:
    """Like `training.trainers.create_trainer`, with TRL's trainer inside.

    Raises SpecError for settings that TRL does not support; for unsupported rows, when they are first needed.
    """
    if problems := list(METHODS[method].on_trl.lacking(config)):
        raise SpecError("not supported by TRL", problems)
    return _on_trl(METHODS[method].trainer_class)(config, data)


class _OnTrl(BaseTrainer):
    """A method's public trainer whose inner trainer is TRL's."""

    def create_trainer(self) -> Any:
        data = self.load_and_validate_dataset()
        train = self._rows(data.train)
        held_out = None if data.eval is None else self._rows(data.eval)
        if self._translation.in_order:
            train = train.shuffle(seed=self.config.seed)
        model, stock = self.get_model(), self._translation.trainer
        trainer = stock(
            model=model,
            args=stock.arguments(**self._settings(model) | _router_loss(stock.arguments, model)),
            train_dataset=train,
            eval_dataset=held_out,
            processing_class=self.tokenizer,
            callbacks=self._callbacks,
            **self._reference(),
        )
        if "ref" in getattr(model, "peft_config", ()):
            # TRL's copy of the initial adapters; without it TRL switches adapters off for the reference, as we do
            model.delete_adapter("ref")
        if isinstance(self.config, PreferenceConfig):
            PreferenceWatch(self.config, self._tokens_per_answer(data.train)).first_of(trainer)
        return trainer

    @property
    def _translation(self) -> Translation:
        return METHODS[self.method].on_trl

    def _settings(self, model: Any) -> dict[str, Any]:
        shared = training_arguments(self.config, model=model).to_dict()
        shared["hub_token"] = None  # to_dict writes a placeholder string for tokens
        return shared | self._translation.settings(self.config)

    def _tokens_per_answer(self, groups: GroupDataset) -> float:
        """Mean length of the groups' first answers; 1 where TRL logs means over tokens."""
        if self._translation.settings(self.config).get("loss_type") == "simpo":
            return 1.0
        lengths = [group.completions[0].num_targets for group in groups]
        return sum(lengths) / len(lengths)

    def _rows(self, groups: GroupDataset) -> Dataset:
        if problems := refused_rows(groups, self.config.dataset_path, masks=self._translation.masks):
            raise SpecError("not supported by TRL", problems)
        return Dataset.from_list([self._translation.row(group) for group in groups])

    def _reference(self) -> dict[str, Any]:
        """Arguments for TRL's reference model; None means the model with its adapters off."""
        if not isinstance(self.config, ReferencedConfig):
            return {}
        source = ModelSource.reference(self.config)
        if self.config.use_lora and source is None and self.config.reference != "copy":
            return {"ref_model": None}
        model = load_model(self.config, source or self.start, trained=False)
        return {"ref_model": model.requires_grad_(False).eval()}

    def setup_model_and_tokenizer(self) -> None:
        """Like the base class, but without installing our scoring."""
        self.tokenizer = self.tokenizer or load_tokenizer(self.config)
        set_seed(self.config.seed)
        self.model = load_model(self.config, self.start)


def _router_loss(arguments: type, model: Any) -> dict[str, float]:
    """Arguments for the load-balancing loss. TRL, except its CPO, adds one by default even if the model's config does
    not enable it."""
    has_it = "router_aux_loss_coef" in {field.name for field in fields(arguments)}
    return {"router_aux_loss_coef": router_coefficient(model)} if has_it else {}


@cache
def _on_trl(base: type[BaseTrainer]) -> type[BaseTrainer]:
    """The public trainer ``base`` with TRL's inside."""
    return type(f"Trl{base.__name__}", (_OnTrl, base), {"__doc__": base.__doc__})
