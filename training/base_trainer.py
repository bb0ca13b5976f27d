# SPDX-License-Identifier: Apache-2.0
"""`BaseTrainer`: what the trainers of all methods share, from a config to a saved model."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tadrib.training.extras import explained

try:
    from torch.utils.data import DataLoader
    from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase
except ImportError as error:
    raise explained(error) from error

from tadrib.training.adapters.composed_adapter import complete
from tadrib.training.adapters.lora import add_lora
from tadrib.training.config import CommonConfig
from tadrib.training.config.registry import method_of
from tadrib.training.config.rules.adjusters import early_stopping
from tadrib.training.data.generation import encode_prompt
from tadrib.training.data.prepare import PreparedData, prepare_data
from tadrib.training.engine.gathering import whole_state
from tadrib.training.engine.policy import install_scoring
from tadrib.training.errors import Problem, SpecError
from tadrib.training.evaluation import EarlyStoppingWatch, training_sample
from tadrib.training.files.permissions import follow_umask
from tadrib.training.inference.generate import generate
from tadrib.training.inference.serving_files import stop_ids, write_serving_files
from tadrib.training.loop.arguments import rows_per_step, training_arguments
from tadrib.training.loop.group_trainer import GroupTrainer
from tadrib.training.loop.keeper import is_rank_zero
from tadrib.training.loop.nonfinite import NonfiniteGuard
from tadrib.training.loop.objective import Objective
from tadrib.training.model.adapter_folder import adapter_of
from tadrib.training.model.deepspeed import leave_deepspeed, tell_of_compiling
from tadrib.training.model.hardware import fit_to_hardware
from tadrib.training.model.limits import require_room
from tadrib.training.model.load import load_model
from tadrib.training.model.source import ModelSource, locate
from tadrib.training.model.starting_adapter import start_factors, suspended
from tadrib.training.model.tokenizer import load_tokenizer
from tadrib.training.notices import warn
from tadrib.training.output_folder import final_folder, keep_earlier_model, require_source_kept
from tadrib.training.phases import Phase, enter
from tadrib.training.reference.model import load_reference_model


class BaseTrainer(ABC):
    """Loads data and model when first needed, then trains, evaluates, saves and answers.

    ``data`` takes rows that are prepared already, as the workers of a run do. The config is copied: later changes to
    the caller's object have no effect here. A subclass of your own needs `create_trainer` alone, which may return any
    `transformers.Trainer`; its rows are those of the config's method.
    """

    def __init__(self, config: CommonConfig, data: PreparedData | None = None) -> None:
        self.method = method_of(config)
        held_out = None if data is None else data.eval is not None
        self.config = fit_to_hardware(config, has_eval_data=held_out)
        self.data = data
        self.start = ModelSource.start(self.config)  # the model that training starts from
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.model: PreTrainedModel | None = None
        self.trainer: Trainer | None = None
        self.planned_workers: int | None = (
            None  # the workers that the global batch is made for; None: those here
        )
        self.reference_cache = f"{self.config.output_dir}/reference-cache"  # a path or a URL
        self._callbacks: list[TrainerCallback] = list(config.callbacks)
        self._arguments: TrainingArguments | None = None
        self._has_saved = False

    # --- set-up

    def setup_model_and_tokenizer(self) -> None:
        """Load tokenizer and base model, quantized if asked for, and make the model score packed groups."""
        enter(Phase("loading the model"))
        self.ready_tokenizer()
        self.ready_strategy()
        set_seed(self.config.seed)  # fresh adapters are drawn before the Trainer sets the seed
        self.model = load_model(self.config, self.start)
        install_scoring(self.model)

    def setup_lora(self) -> None:
        """Add trainable adapters to the loaded model and freeze the rest."""
        self.model = add_lora(self.ready_model(with_lora=False), self.config)

    def load_and_validate_dataset(self) -> PreparedData:
        """Read, check and tokenize the rows of the config. Raises DataError with every problem found, SpecError for
        rows that the model has no room for."""
        if self.data is None:
            data = prepare_data(self.config, self.method, self.ready_tokenizer())
            require_room(self.config, self.method, data, self.ready_tokenizer())
            for line in data.report.warnings:
                warn(line)
            self.data = data
        return self.data

    def get_data_loader(self) -> DataLoader:
        """The loader of this worker's packed training batches."""
        return self.ready_trainer().get_train_dataloader()

    @abstractmethod
    def create_trainer(self) -> Trainer:
        """The engine with this method's objective, by `build_group_trainer`; or another `transformers.Trainer`."""

    def build_group_trainer(
        self, objective: Objective, *, bin_tokens: int | None = None, **options: Any
    ) -> GroupTrainer:
        data, model = self.load_and_validate_dataset(), self.ready_model()
        return GroupTrainer(
            objective=objective,
            groups=data.train,
            eval_dataset=data.eval,
            bin_tokens=bin_tokens,
            model=model,
            args=training_arguments(self.config, self.planned_workers, model),
            rows_per_step=rows_per_step(self.config, self.planned_workers),
            guard=NonfiniteGuard(
                self.config.on_nonfinite,
                self.config.max_skipped_steps,
                own_gradients=not self.config.uses_deepspeed and not self.config.fp16,
            ),
            processing_class=self.ready_tokenizer(),
            callbacks=self._callbacks,
            **options,
        )

    def add_callback(self, callback: TrainerCallback) -> None:
        """As ``config.callbacks``, for code that holds a trainer already. Raises SpecError for an early stopping that
        has no score to watch."""
        if early_stopping([callback]) and self.config.evaluation_strategy == "no":
            message = (
                "an EarlyStoppingCallback, but this trainer does not evaluate, so there is no score to watch."
            )
            action = "Put it in config.callbacks before the trainer is created, or set validation_split: 0.05 there."
            raise SpecError(type(self).__name__, [Problem("callbacks", message, action)])
        self._callbacks.append(callback)
        if self.trainer is not None:
            self.trainer.add_callback(callback)

    # --- use

    def train(self, resume_from_checkpoint: str | None = None) -> dict[str, float]:
        """Train to the end of the schedule, from a checkpoint folder if one is given; returns the run's metrics.

        Checkpoints of other trainings in ``output_dir`` are set aside. The model is left ready to answer, its dropout
        off. Raises SpecError when `save_model` would overwrite the model that training starts from.
        """
        require_source_kept(self.config, final_folder(self.config))
        metrics = self.ready_trainer().train(resume_from_checkpoint=resume_from_checkpoint).metrics
        self.ready_model().eval()
        return metrics

    def evaluate(self) -> dict[str, float]:
        """Metrics on the held-out rows, ``eval_loss`` among them. Without any, those of a sample of training rows,
        and a warning says so."""
        trainer = self.ready_trainer()
        if trainer.eval_dataset is None:
            return trainer.evaluate(self._stand_in())
        return trainer.evaluate()

    def _stand_in(self) -> Any:
        """The training rows that are evaluated where none are held out."""
        return training_sample(self.ready_trainer().train_dataset, self.config.seed)

    def save_model(self, path: str | Path | None = None) -> Path:
        """Write adapters or full weights, as peft and transformers read them, with the tokenizer, chat template and
        ends of answers that were trained; ``output_dir/final`` by default, where the model of an earlier training is
        set aside. All workers call it, one writes. Raises SpecError when ``path`` is the folder that the model was
        made from."""
        target = Path(path) if path is not None else final_folder(self.config)
        require_source_kept(self.config, target)
        if path is None and not self._has_saved:
            keep_earlier_model(target)
            self._has_saved = True
        model, tokenizer = self.ready_model(), self.ready_tokenizer()
        if self.trainer is not None and (self.trainer.deepspeed or not self.config.uses_deepspeed):
            self.trainer.save_model(str(target))
        else:
            state = whole_state(model) if self.config.uses_deepspeed else None
            if state is None or is_rank_zero():
                model.save_pretrained(target, state_dict=state)
                complete(model, target)
        if is_rank_zero():
            write_serving_files(target, model, tokenizer, self.config, chat=self._trained_on_chats())
            follow_umask(target)
        return target

    def load_model(self, path: str | Path) -> None:
        """Replace the model by the one saved at ``path``: adapters of the config's base model, or full weights.

        Training then starts from it, with new adapters where the config says `use_lora`, and so it is the reference.
        Raises SpecError when there is none, or it is an adapter of another base model.
        """
        start = ModelSource.saved(path, self.config)
        locate(start)
        self.start, self.model, self.trainer = start, None, None
        self.ready_model()

    def predict(self, text: str, max_length: int = 256) -> str:
        """The model's greedy answer to an instruction, of at most ``max_length`` new tokens."""
        return self.predict_batch([text], max_length=max_length)[0]

    def predict_batch(self, texts: list[str], max_length: int = 256) -> list[str]:
        """As `predict`, for many instructions at once."""
        model, tokenizer = self.ready_model(), self.ready_tokenizer()
        chat = self._trained_on_chats()
        stops = stop_ids(model, tokenizer, self.config, chat=chat)
        prompts = [
            encode_prompt([{"role": "user", "content": t}] if chat else t, self.config, tokenizer)
            for t in texts
        ]
        return generate(model, tokenizer, prompts, stop_ids=stops, max_new_tokens=max_length)

    def generate_comparison(self, prompt: str, max_length: int = 256) -> dict[str, str]:
        """The trained model's answer to ``prompt`` and the reference's; see `compare`."""
        [row] = self.compare([prompt], max_length=max_length)
        return row

    def compare(self, prompts: Sequence[str], max_length: int = 256) -> list[dict[str, str]]:
        """For each prompt: ``prompt``, ``trained_model_response`` and ``reference_model_response``.

        Both models answer greedily, in batches, with at most ``max_length`` new tokens. The reference is the model that
        training started from, or ``ref_model_name``.
        """
        texts = list(prompts)
        trained = self.predict_batch(texts, max_length=max_length)
        with self._reference_answering():
            reference = self.predict_batch(texts, max_length=max_length)
        return [
            {"prompt": prompt, "trained_model_response": ours, "reference_model_response": theirs}
            for prompt, ours, theirs in zip(texts, trained, reference, strict=True)
        ]

    @contextlib.contextmanager
    def _reference_answering(self) -> Iterator[None]:
        """A second model is loaded only where the trained one cannot give the reference by leaving out adapters."""
        trained = self.ready_model()
        source = ModelSource.reference(self.config) or self._compared_with()
        of_base = source == ModelSource.start(self.config) and adapter_of(source) is None
        if hasattr(trained, "disable_adapter") and (
            source == self.start or (of_base and start_factors(trained))
        ):
            with (
                trained.disable_adapter(),
                suspended(trained) if source != self.start else contextlib.nullcontext(),
            ):
                yield
            return
        self.model = load_reference_model(self.config, source)
        try:
            yield
        finally:
            self.model = trained

    def _compared_with(self) -> ModelSource:
        """What the model was trained from: for a loaded one that is as it was loaded, the config's model."""
        is_as_loaded = self.trainer is None or self.trainer.state.global_step == 0
        return ModelSource.start(self.config) if is_as_loaded else self.start

    def _trained_on_chats(self) -> bool:
        """Whether conversations fell back to the tokenizer's template, which answers then need as well."""
        return self.data is not None and "tokenizer" in self.data.report.templates

    # --- lazily

    def ready_strategy(self) -> None:
        """Before a model is loaded under DeepSpeed: ZeRO-3 reads it in shards while its settings are in place."""
        if not self.config.uses_deepspeed:
            leave_deepspeed()
        elif self._arguments is None:
            tell_of_compiling(self.config)
            self._arguments = training_arguments(self.config, self.planned_workers)

    def ready_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            self.tokenizer = load_tokenizer(self.config)
        return self.tokenizer

    def ready_model(self, with_lora: bool = True) -> Any:
        if self.model is None:
            self.setup_model_and_tokenizer()
            if with_lora and self.config.use_lora:
                self.setup_lora()
        return self.model

    def ready_trainer(self) -> Trainer:
        if self.trainer is None:
            self.trainer = self.create_trainer()
            self.trainer.add_callback(EarlyStoppingWatch(self._callbacks))
        return self.trainer
