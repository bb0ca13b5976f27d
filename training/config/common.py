# SPDX-License-Identifier: Apache-2.0
"""CommonConfig: the settings that every training method has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field

from tadrib.training.config.dataset.layout import Columns, Format, Tags
from tadrib.training.config.dataset.source import LAYOUT, ROWS, DataSource, Sources
from tadrib.training.config.metrics import COMMON, plain_name
from tadrib.training.config.section import Section
from tadrib.training.config.strategy import Strategy
from tadrib.training.config.types import (
    MAY_CHANGE,
    Alphas,
    Count,
    Document,
    Few,
    Flag,
    Index,
    Layers,
    LearningRate,
    LocalPath,
    Location,
    LoraStart,
    Names,
    NonNegative,
    Positive,
    Processes,
    Rank,
    Ranks,
    Schedule,
    Share,
    Steps,
    Text,
    listed,
)

Template = Literal["auto", "alpaca", "chatml", "llama3", "qwen", "gemma", "plain", "tokenizer"]
Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
]
Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "adamw_bnb_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "ademamix",
    "ademamix_8bit",
    "paged_ademamix_8bit",
    "paged_ademamix_32bit",
    "lion_8bit",
    "lion_32bit",
    "paged_lion_8bit",
    "paged_lion_32bit",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "adafactor",
    "adagrad",
    "rmsprop",
    "sgd",
]
NormalizationStep = Literal["nfc", "alef", "ya", "ta_marbuta", "tatweel", "diacritics"]
Tracker = Literal["tensorboard", "wandb", "mlflow"]


class CommonConfig(Section):
    """Settings that every method has.

    Raises SpecError, with every problem found, on construction and on assignment.
    """

    model_name: Annotated[Location, LocalPath("model", "all")] = "Qwen/Qwen2.5-7B"
    """Model to start from: a Hugging Face Hub id or a directory that `transformers` or `peft` opens, such as the
    `final/` of another run. What training starts from is also the reference: an adapter stays below the new one, or
    is merged without LoRA."""
    model_revision: Text | None = None
    """Branch, tag or commit of a Hub model; null means its default branch."""
    trust_remote_code: Flag = False
    """Run Python code that ships with the model. Only for a model whose code you have read."""
    torch_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Type the model weights are loaded in."""
    load_in_4bit: Flag = False
    """Load the weights as 4-bit NormalFloat (bitsandbytes); with LoRA this is QLoRA."""
    load_in_8bit: Flag = False
    """Load the weights as 8-bit integers (bitsandbytes, LLM.int8())."""

    dataset_path: Annotated[Location, ROWS] = "data/training.jsonl"
    """Training rows: a JSONL, JSON, CSV, Excel or Parquet file, a glob or folder of them, a `datasets` directory, a Hub
    id, or an fsspec URL such as `s3://bucket/rows.parquet`. A spec must name it, or `datasets`."""
    datasets: Sources = Field(default_factory=list)
    """Several datasets to train on together, in place of `dataset_path`: a list of `path` and, for each, `name`,
    `split`, `weight` or `max_rows`, and its layout. Without weights they are concatenated. See docs/data.md."""
    eval_dataset_path: Annotated[Location | None, ROWS] = None
    """Rows to evaluate on, in the same forms as `dataset_path`; null means none, or `validation_split`."""
    format: Format = "auto"
    columns: Columns = Field(default_factory=dict)
    tags: Tags = Field(default_factory=dict)
    validation_split: Share = 0.0
    """Share of the training prompts held out with their rows for evaluation, at least one; chosen by `seed`. 0 holds
    out none; the default becomes 0.05 where evaluation was asked for and `eval_dataset_path` is null."""
    instruction_template: Template = "auto"
    """How a prompt is written: a named template, `plain` (the text as it is), `tokenizer` (the chat template that
    comes with the tokenizer), or `auto`: `tokenizer` where the model has a chat template, else `plain`."""
    max_seq_length: Count = 512
    """Longest sequence, in tokens; with `packing`, also the length of one packed sequence."""
    truncation: Literal["error", "drop", "truncate"] = "error"
    """What to do with a row over the length limit: refuse the dataset, leave the row out, or cut it. The rows
    left out or cut are counted in the data report."""
    max_bad_rows: Index = 0
    """Number of invalid rows to leave out before the dataset is refused; they are written to
    `rejected.jsonl`."""
    text_normalization: Annotated[list[NormalizationStep], Field(strict=False)] = Field(default_factory=list)
    """Arabic normalisation steps to apply to every text, in this order; none by default. Other scripts stay
    as they are."""

    use_lora: Flag = True
    """Train low-rank adapters and keep the model's weights frozen; false trains all weights."""
    lora_r: Rank = 16
    """Rank of the adapters; fewer parameters and less memory when smaller."""
    lora_alpha: Few = 32
    """Scale of the adapters: their output is multiplied by `lora_alpha / lora_r`."""
    lora_dropout: Share = 0.1
    """Share of adapter inputs set to zero at random during training."""
    lora_target_modules: Layers = Field(default_factory=lambda: ["q_proj", "v_proj"])
    """Linear layers that get an adapter: a list of names, `all-linear` (every one but the head), or a regular
    expression that matches whole names such as `model.layers.0.self_attn.q_proj`. Of a model that also takes images or
    sound, the language model alone gets adapters. A family that has no layers of the default names gets those that
    PEFT adapts in it, and a warning says which."""
    rank_pattern: Ranks = Field(default_factory=dict)
    """Ranks of single layers in place of `lora_r`, by name or regular expression, as in `{down_proj: 32}`; the first
    that matches counts."""
    alpha_pattern: Alphas = Field(default_factory=dict)
    """As `rank_pattern`, in place of `lora_alpha`."""
    use_rslora: Flag = False
    """Scale adapters by `lora_alpha / sqrt(lora_r)`, so that high ranks learn as fast (rsLoRA, arXiv 2312.03732)."""
    use_dora: Flag = False
    """Train the norm of each output's weights beside the adapter (DoRA, arXiv 2402.09353): closer to training all
    weights, and half as fast or slower, as each step computes the norms anew."""
    lora_bias: Flag = False
    """Give adapters a trained bias on their output. PEFT loads such an adapter, and cannot merge it into layers that
    have no bias."""
    init_lora_weights: LoraStart = "kaiming"
    """Where adapters start. `kaiming` (PEFT's `true`) and `gaussian` are random and add nothing at first.
    `pissa` (arXiv 2404.02948), its fast form `pissa_niter_N`, and `olora` (arXiv 2406.01775) start from the main
    directions of the weights; the model is the same at first, and in `final/` the adapter has twice the rank. `loftq`
    (arXiv 2310.08659) starts from what `load_in_4bit` rounded away, which is then part of the reference as well."""
    modules_to_save: Names = Field(default_factory=list)
    """Modules to train whole beside the adapters, and to save with them: `[embed_tokens, lm_head]` where tokens are
    new."""

    learning_rate: LearningRate = 2e-4
    """Highest learning rate of the schedule."""
    num_train_epochs: Positive = 3.0
    """Passes over the training rows; may be a fraction. `max_steps` takes precedence."""
    max_steps: Steps = -1
    """Optimizer steps to train; -1 means as many as `num_train_epochs` takes."""
    per_device_train_batch_size: Few = 4
    """Rows in one micro-batch of one worker; with `packing`, packed sequences of `max_seq_length` tokens."""
    per_device_eval_batch_size: Few = 8
    """As `per_device_train_batch_size`, for evaluation."""
    gradient_accumulation_steps: Few = 1
    """Micro-batches of each worker that make one optimizer step."""
    gradient_checkpointing: Annotated[Flag, MAY_CHANGE] = True
    """Recompute activations in the backward pass: much less memory for about a third more time."""
    use_liger_kernel: Annotated[Flag, MAY_CHANGE] = False
    """Compute norms, RoPE and MLPs by the fused kernels of liger-kernel, on GPUs. The head is always fused."""
    optim: Optimizer = "adamw_torch"
    """Optimizer, by its transformers name. `*_8bit` keep states of 8 bits, `paged_*` lend them to main memory while the
    GPU is full; these, `lion_*`, `ademamix*` and `rmsprop_bnb*` come from bitsandbytes. `adafactor` keeps a row and a
    column for each weight, with `learning_rate` as given."""
    lr_scheduler_type: Scheduler = "linear"
    """Shape of the learning rate over the run, by its transformers name."""
    warmup_ratio: Share = 0.1
    """Share of the steps in which the learning rate rises evenly to its highest. The first step learns already: step s
    of w has s / w of it."""
    weight_decay: NonNegative = 0.01
    """Weight decay, applied to all trained weights except biases and norms."""
    max_grad_norm: NonNegative = 1.0
    """Gradients are scaled down to this norm; 0 leaves them as they are."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """When a loss or gradient is NaN or infinite: stop the run and name the rows, or leave that step out and go
    on."""
    max_skipped_steps: Index = 10
    """Steps that `on_nonfinite: skip` may leave out before it stops the run."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """Seed of everything random: data order, splits, adapter weights, dropout."""

    evaluation_strategy: Annotated[Schedule, MAY_CHANGE] = "steps"
    """When to evaluate: never, every `eval_steps` steps, or after each epoch. Without evaluation data the
    default becomes `no`."""
    eval_steps: Annotated[Count, MAY_CHANGE] = 500
    """Optimizer steps between evaluations, with `evaluation_strategy: steps`."""
    save_strategy: Annotated[Schedule, MAY_CHANGE] = "steps"
    """When to write a checkpoint: never, every `save_steps` steps, or after each epoch."""
    save_steps: Annotated[Count, MAY_CHANGE] = 1000
    """Optimizer steps between checkpoints, with `save_strategy: steps`."""
    save_total_limit: Annotated[Count | None, MAY_CHANGE] = 3
    """Checkpoints to keep, the newest and the best always among them; null keeps all."""
    load_best_model_at_end: Flag = True
    """Finish with the checkpoint that has the best `metric_for_best_model`. Needs evaluation; one without a
    checkpoint at the same step cannot win, and a warning says so where it would have."""
    metric_for_best_model: Text = "eval_loss"
    """Metric on the held-out rows that picks the best checkpoint, one of those that the method logs; `eval_` may be
    left out. Of one of several `datasets` it is such as `eval_{name}_loss`."""
    greater_is_better: Annotated[Flag | None, MAY_CHANGE] = None
    """Whether a higher `metric_for_best_model` is better; null means as is known of it. Needed for metrics of which
    neither is, such as `eval_kl`."""
    logging_steps: Annotated[Count, MAY_CHANGE] = 10
    """Optimizer steps between lines of metrics."""
    report_to: Annotated[
        list[Tracker],
        Field(strict=False),
        BeforeValidator(listed, json_schema_input_type=list[Tracker] | Literal[Tracker, "none"]),
        MAY_CHANGE,
    ] = Field(default_factory=list)
    """Trackers that also receive the metrics; `metrics.jsonl` is always written."""

    output_dir: Annotated[Location, MAY_CHANGE] = "./checkpoints"
    """Directory for checkpoints and weights when a trainer is used from Python. A spec derives it from
    `storage_path` and `name`."""

    fp16: Flag = False
    """Mixed precision in float16 with loss scaling; needs a GPU."""
    bf16: Flag = False
    """Mixed precision in bfloat16 for weights that are kept in float32."""
    dataloader_num_workers: Annotated[Processes, MAY_CHANGE] = 0
    """Processes per worker that prepare batches; 0 prepares them in the training process."""
    dataloader_pin_memory: Annotated[Flag | None, MAY_CHANGE] = None
    """Put batches in page-locked memory, for faster copies to a GPU; null means where there is one."""
    ddp_backend: Annotated[Literal["nccl", "gloo"] | None, MAY_CHANGE] = None
    """How workers exchange gradients; null means `nccl` on GPU and `gloo` on CPU."""
    ddp_find_unused_parameters: Annotated[Flag | None, MAY_CHANGE] = None
    """Look for weights without a gradient in each step; null does where the model may leave some, such as experts that
    no token chose."""
    strategy: Strategy = "ddp"
    """What workers share: nothing but gradients (`ddp`), the optimizer's states and gradients (`zero2`), the weights as
    well (`zero3`), with states and weights in main memory between their uses (`zero3-offload`)."""
    deepspeed: Annotated[Document | None, LocalPath("settings", "driver")] = None
    """A DeepSpeed configuration of your own in place of `strategy`: the path of a JSON file, or the settings
    themselves, as a mapping or as JSON text. Where there is no file `configs/deepspeed_zero2.json`, the name stands for
    the preset; so do `…_zero3.json` and `…_zero3_offload.json`."""

    callbacks: Annotated[list[Any], Field(strict=False, exclude=True)] = Field(default_factory=list)
    """`transformers.TrainerCallback` objects; from Python only, not a key of a spec."""

    method: ClassVar[str] = ""
    """The name of the method whose settings these are; none has the common ones alone."""
    facts: ClassVar[Mapping[str, Any]] = {"run.metrics": COMMON}

    def paths(self) -> Iterator[tuple[str, str, LocalPath]]:
        for key, value, mark in super().paths():
            if key != "dataset_path" or not self.datasets:
                yield key, value, mark
        for number, source in enumerate(self.datasets):
            yield f"datasets[{number}].path", source.path, ROWS

    def with_paths(self, paths: Mapping[str, str]) -> Self:
        """A copy with other values for keys that `paths` gives; they are taken as they are."""
        changes: dict[str, Any] = {
            key: path for key, path in paths.items() if not key.startswith("datasets[")
        }
        moved = [
            source.model_copy(update={"path": paths.get(f"datasets[{number}].path", source.path)})
            for number, source in enumerate(self.datasets)
        ]
        if moved != self.datasets:
            changes["datasets"] = moved
        return self.model_copy(update=changes)

    @property
    def sources(self) -> list[DataSource]:
        """The datasets to train on: `datasets`, or `dataset_path` alone."""
        return self.datasets or [DataSource(path=self.dataset_path)]

    def of_source(self, source: DataSource) -> Self:
        """These settings for one of `sources` alone, as its `dataset_path`."""
        alone = self.model_copy()
        layout = {key: getattr(source, key) for key in LAYOUT if key in source.model_fields_set}
        split = self.validation_split if source.split is None else source.split
        alone.__dict__.update(layout, datasets=[], dataset_path=source.path, validation_split=split)
        return alone

    @property
    def best_is_greatest(self) -> bool:
        """`greater_is_better`, or what is known of `metric_for_best_model`."""
        if self.greater_is_better is not None:
            return self.greater_is_better
        return bool(self.facts["run.metrics"][self._plain_best_metric])

    @property
    def _plain_best_metric(self) -> str:
        return plain_name(self.metric_for_best_model, (source.label for source in self.datasets))

    @property
    def uses_deepspeed(self) -> bool:
        """Whether workers share the model by DeepSpeed rather than DDP."""
        return self.strategy != "ddp" or self.deepspeed is not None
