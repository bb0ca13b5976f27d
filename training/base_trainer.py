# SPDX-License-Identifier: Apache-2.0
"""`BaseTrainer`: what the trainers of all methods have in common, from a config to a saved model."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tadrib.training.extras import explained

try:
    from peft import PeftModel
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
from tadrib.training.engine.gathering import full_state_dict
from tadrib.training.engine.policy import install_scoring
from tadrib.training.errors import Problem, SpecError
from tadrib.training.evaluation import EarlyStoppingWatch, training_sample
from tadrib.training.files.permissions import follow_umask
from tadrib.training.inference.generate import generate
from tadrib.training.inference.serving_files import stop_ids, write_serving_files
from tadrib.training.loop.arguments import rows_per_step, training_arguments
from tadrib.training.loop.checkpoint_manager import is_rank_zero
from tadrib.training.loop.group_trainer import GroupTrainer
from tadrib.training.loop.nonfinite import NonfiniteGuard
from tadrib.training.loop.objective import Objective
from tadrib.training.model.adapter_folder import adapter_of
from tadrib.training.model.deepspeed import reset_deepspeed, warn_about_compilation
from tadrib.training.model.hardware import fit_to_hardware
from tadrib.training.model.limits import require_rows_fit
from tadrib.training.model.load import load_model
from tadrib.training.model.source import ModelSource, locate
from tadrib.training.model.starting_adapter import start_factors, without_starting_adapter
from tadrib.training.model.tokenizer import load_tokenizer
from tadrib.training.notices import warn
from tadrib.training.output_folder import final_folder, keep_earlier_model, require_source_kept
from tadrib.training.phases import Phase, enter
from tadrib.training.reference.model import load_reference_model


class BaseTrainer(ABC):
    """Loads data and model on first use, then trains, evaluates, saves and generates.

    ``data`` passes rows that are already prepared, as the workers of a run do. The config is copied: later changes to
    the caller's object have no effect. A custom subclass only has to define `create_trainer`, which may return any
    `transformers.Trainer`; its rows are those of the config's method.
    """

    def __init__(self, config: CommonConfig, data: PreparedData | None = None) -> None:
        self.method = method_of(config)
        held_out = None if data is None else data.eval is not None
        self.config = fit_to_hardware(config, has_eval_data=held_out)
        self.data = data
        self.start = ModelSource.start(self.config)  # the model that training starts from; see `load_model`
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
        """Load the tokenizer and the base model, quantized if configured, and install scoring in the model."""
        enter(Phase("loading the model"))
        self.get_tokenizer()
        self.prepare_strategy()
        set_seed(self.config.seed)  # new adapters are initialized before the Trainer sets the seed
        self.model = load_model(self.config, self.start)
        base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        install_scoring(base, getattr(self.config, "neftune_noise_alpha", None))

    def setup_lora(self) -> None:
        """Add trainable adapters to the loaded model and freeze the rest."""
        self.model = add_lora(self.get_model(with_lora=False), self.config)

    def load_and_validate_dataset(self) -> PreparedData:
        """Read, check and tokenize the rows of the config. Raises DataError with every problem found, and SpecError for
        rows that exceed the model's limits."""
        if self.data is None:
            store = f"{self.config.output_dir}/prepared"
            data = prepare_data(self.config, self.method, self.get_tokenizer(), store=store)
            require_rows_fit(self.config, self.method, data.extent, self.get_tokenizer())
            for line in data.report.warnings:
                warn(line)
            self.data = data
        return self.data

    def get_data_loader(self) -> DataLoader:
        """The data loader of this worker's packed training batches."""
        return self.get_trainer().get_train_dataloader()

    @abstractmethod
    def create_trainer(self) -> Trainer:
        """The inner trainer: `build_group_trainer` with this method's objective, or any `transformers.Trainer`."""

    def build_group_trainer(
        self, objective: Objective, *, bin_tokens: int | None = None, **options: Any
    ) -> GroupTrainer:
        data, model = self.load_and_validate_dataset(), self.get_model()
        return GroupTrainer(
            objective=objective,
            groups=data.train,
            eval_dataset=data.eval,
            eval_sets=data.eval_sets,
            bin_tokens=bin_tokens,
            model=model,
            args=training_arguments(self.config, self.planned_workers, model),
            rows_per_step=rows_per_step(self.config, self.planned_workers),
            guard=NonfiniteGuard(
                self.config.on_nonfinite,
                self.config.max_skipped_steps,
                check_gradients=not self.config.uses_deepspeed and not self.config.fp16,
            ),
            processing_class=self.get_tokenizer(),
            callbacks=self._callbacks,
            **options,
        )

    def add_callback(self, callback: TrainerCallback) -> None:
        """Add a callback after construction; see ``config.callbacks``. Raises SpecError for an EarlyStoppingCallback if
        this trainer does not evaluate."""
        if early_stopping([callback]) and self.config.evaluation_strategy == "no":
            message = "an EarlyStoppingCallback, but this trainer does not evaluate, so there is no metric to monitor."
            action = "Put it in config.callbacks before the trainer is created, or set validation_split: 0.05 there."
            raise SpecError(type(self).__name__, [Problem("callbacks", message, action)])
        self._callbacks.append(callback)
        if self.trainer is not None:
            self.trainer.add_callback(callback)

    # --- use

    def train(self, resume_from_checkpoint: str | None = None) -> dict[str, float]:
        """Train to the end of the schedule, from a checkpoint folder if given; returns the run's metrics.

        Checkpoints of other trainings in ``output_dir`` are set aside. Afterwards the model is in evaluation mode.
        Raises SpecError if `save_model` would overwrite the model that training starts from.
        """
        require_source_kept(self.config, final_folder(self.config))
        metrics = self.get_trainer().train(resume_from_checkpoint=resume_from_checkpoint).metrics
        self.get_model().eval()
        return metrics

    def evaluate(self) -> dict[str, float]:
        """Metrics on the held-out rows, such as ``eval_loss``. Without held-out rows, a sample of training rows is
        evaluated, with a warning."""
        trainer = self.get_trainer()
        if trainer.eval_dataset is None:
            return trainer.evaluate(self._eval_substitute())
        return trainer.evaluate()

    def _eval_substitute(self) -> Any:
        """The training rows to evaluate on if none are held out."""
        return training_sample(self.get_trainer().train_dataset, self.config.seed)

    def save_model(self, path: str | Path | None = None) -> Path:
        """Save adapters or full weights in peft's or transformers' format, with the tokenizer, chat template and stop
        tokens of training.

        ``path`` defaults to ``output_dir/final``, where the model of an earlier training is set aside. All workers have
        to call it; one writes. Raises SpecError if ``path`` is the folder that training started from.
        """
        target = Path(path) if path is not None else final_folder(self.config)
        require_source_kept(self.config, target)
        if path is None and not self._has_saved:
            keep_earlier_model(target)
            self._has_saved = True
        model, tokenizer = self.get_model(), self.get_tokenizer()
        if self.trainer is not None and (self.trainer.deepspeed or not self.config.uses_deepspeed):
            self.trainer.save_model(str(target))
        else:
            state = full_state_dict(model) if self.config.uses_deepspeed else None
            if state is None or is_rank_zero():
                model.save_pretrained(target, state_dict=state)
                complete(model, target)
        if is_rank_zero():
            write_serving_files(target, model, tokenizer, self.config, chat=self._trained_on_chats())
            follow_umask(target)
        return target

    def load_model(self, path: str | Path) -> None:
        """Replace the model with the one saved at ``path``: adapters of the config's base model, or full weights.

        Training then starts from it, with new adapters if the config sets `use_lora`, and it becomes the reference. On
        an adapter that is more than plain LoRA, such as DoRA, no new one can be trained; it only answers.
        Raises SpecError if there is no model, or it is an adapter of another base model.
        """
        start = ModelSource.saved(path, self.config)
        locate(start)
        self.start, self.model, self.trainer = start, None, None
        self.get_model()

    def predict(self, text: str, max_length: int = 256) -> str:
        """The model's greedy answer to an instruction, with at most ``max_length`` new tokens."""
        return self.predict_batch([text], max_length=max_length)[0]

    def predict_batch(self, texts: list[str], max_length: int = 256) -> list[str]:
        """Like `predict`, for several instructions at once."""
        model, tokenizer = self.get_model(), self.get_tokenizer()
        chat = self._trained_on_chats()
        stops = stop_ids(model, tokenizer, self.config, chat=chat)
        prompts = [
            encode_prompt([{"role": "user", "content": t}] if chat else t, self.config, tokenizer)
            for t in texts
        ]
        return generate(model, tokenizer, prompts, stop_ids=stops, max_new_tokens=max_length)

    def generate_comparison(self, prompt: str, max_length: int = 256) -> dict[str, str]:
        """The trained model's and the reference model's answers to ``prompt``; see `compare`."""
        [row] = self.compare([prompt], max_length=max_length)
        return row

    def compare(self, prompts: Sequence[str], max_length: int = 256) -> list[dict[str, str]]:
        """For each prompt a dict with ``prompt``, ``trained_model_response`` and ``reference_model_response``.

        Both models decode greedily, in batches, with at most ``max_length`` new tokens. The reference is the model that
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
        """Inside this context the reference model answers. It is loaded separately only if the trained model without
        its adapters is another one."""
        trained = self.get_model()
        source = ModelSource.reference(self.config) or self._compared_with()
        of_base = source == ModelSource.start(self.config) and adapter_of(source) is None
        if hasattr(trained, "disable_adapter") and (
            source == self.start or (of_base and start_factors(trained))
        ):
            with (
                trained.disable_adapter(),
                without_starting_adapter(trained) if source != self.start else contextlib.nullcontext(),
            ):
                yield
            return
        self.model = load_reference_model(self.config, source)
        try:
            yield
        finally:
            self.model = trained

    def _compared_with(self) -> ModelSource:
        """What to compare the model with: what it was trained from; the config's model if it was only loaded."""
        is_as_loaded = self.trainer is None or self.trainer.state.global_step == 0
        return ModelSource.start(self.config) if is_as_loaded else self.start

    def _trained_on_chats(self) -> bool:
        """Whether conversations used the tokenizer's chat template, which generation then has to use as well."""
        return self.data is not None and "tokenizer" in self.data.report.templates

    def _require_trainable(self) -> None:
        """Raise SpecError if training would start from a saved adapter that no new one can be trained on."""
        adapter = adapter_of(self.start) if self.start.is_saved and self.config.use_lora else None
        if adapter is not None:
            adapter.require_plain()

    # --- lazily

    def prepare_strategy(self) -> None:
        """Run before a model is loaded: ZeRO-3 partitions it while loading, once DeepSpeed's settings are in place."""
        if not self.config.uses_deepspeed:
            reset_deepspeed()
        elif self._arguments is None:
            warn_about_compilation(self.config)
            self._arguments = training_arguments(self.config, self.planned_workers)

    def get_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            self.tokenizer = load_tokenizer(self.config)
        return self.tokenizer

    def get_model(self, with_lora: bool = True) -> Any:
        if self.model is None:
            self.setup_model_and_tokenizer()
            if with_lora and self.config.use_lora and not isinstance(self.model, PeftModel):
                self.setup_lora()
        return self.model

    def get_trainer(self) -> Trainer:
        if self.trainer is None:
            self._require_trainable()
            self.trainer = self.create_trainer()
            self.trainer.add_callback(EarlyStoppingWatch(self._callbacks))
        return self.trainer
