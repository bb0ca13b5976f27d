# SPDX-License-Identifier: Apache-2.0
"""Convert a config to transformers' `TrainingArguments`."""

from __future__ import annotations

import os

from transformers import PreTrainedModel, TrainingArguments

from tadrib.training.config import CommonConfig
from tadrib.training.loop.unused_weights import may_lack_gradients
from tadrib.training.model.deepspeed import deepspeed_settings, precision, prepare_process, reset_deepspeed
from tadrib.training.model.hardware import local_device
from tadrib.training.model.liger import require_liger


def training_arguments(
    config: CommonConfig, planned_workers: int | None = None, model: PreTrainedModel | None = None
) -> TrainingArguments:
    """Translate field by field. What our engine does itself (data order, packing, metric names) is left out.

    ``planned_workers`` is the number of workers the global batch was planned for. If fewer are running, each takes more
    micro-batches, so a step keeps its rows. ``model`` is the model to train, once it is loaded.
    """
    if config.use_liger_kernel and model is not None:
        require_liger(model)
    on_cpu = local_device().type == "cpu"
    settings = deepspeed_settings(config)
    autocast: str | None
    if settings is None:
        reset_deepspeed()
        # adapters stay in float32 over a 16-bit base model, so only full fine-tuning needs autocast
        autocast = None if config.use_lora else config.torch_dtype
    else:
        prepare_process(settings)
        autocast = precision(config)
    return TrainingArguments(
        output_dir=config.output_dir,
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_train_epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=micro_batch_rows(config),
        per_device_eval_batch_size=config.per_device_eval_batch_size,
        gradient_accumulation_steps=_micro_batches(config, planned_workers or num_workers()),
        activation_checkpointing=config.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
        warmup_steps=config.warmup_ratio,  # transformers reads a value below 1 as a ratio of all steps
        use_liger_kernel=config.use_liger_kernel,
        # the head is scored by `training.engine.scorer`, from hidden states
        liger_kernel_config={"cross_entropy": False, "fused_linear_cross_entropy": False},
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        lr_scheduler_type=config.lr_scheduler_type,
        optim=config.optim,
        bf16=config.bf16 or autocast == "bfloat16",
        fp16=config.fp16 or autocast == "float16",
        eval_strategy=config.evaluation_strategy,
        eval_steps=config.eval_steps,
        save_strategy=config.save_strategy,
        save_steps=config.save_steps,
        save_total_limit=config.save_total_limit,
        load_best_model_at_end=config.load_best_model_at_end,
        metric_for_best_model=config.metric_for_best_model,
        greater_is_better=config.best_is_greatest,
        logging_steps=config.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # `NonfiniteGuard` deals with NaN; the filter would hide it in the logged mean
        report_to=config.report_to or "none",
        seed=config.seed,
        dataloader_num_workers=config.dataloader_num_workers,
        dataloader_pin_memory=not on_cpu
        if config.dataloader_pin_memory is None
        else config.dataloader_pin_memory,
        ddp_backend=_ddp_backend(config, on_cpu),
        ddp_find_unused_parameters=_finds_unused(config, model),
        deepspeed=settings,
        use_cpu=on_cpu,
        remove_unused_columns=False,  # rows are groups, whose fields are not the arguments of a forward
    )


def micro_batch_rows(config: CommonConfig) -> int:
    """Rows of a micro-batch on one worker: groups, or bins packed with groups. A token budget makes one bin."""
    budget = getattr(config, "max_tokens_per_batch", None)
    return config.per_device_train_batch_size if budget is None else 1


def rows_per_step(config: CommonConfig, planned_workers: int | None = None) -> int:
    """The global batch size, in rows as `micro_batch_rows` counts them."""
    workers = planned_workers or num_workers()
    return micro_batch_rows(config) * config.gradient_accumulation_steps * workers


def num_workers() -> int:
    """Number of training processes, from the variable that torchrun and Ray Train set."""
    return int(os.environ.get("WORLD_SIZE", 1))


def _micro_batches(config: CommonConfig, planned_workers: int) -> int:
    # rounded up: where it does not divide evenly, some micro-batches of a step have placeholders
    return -(-config.gradient_accumulation_steps * planned_workers // num_workers())


def _finds_unused(config: CommonConfig, model: PreTrainedModel | None) -> bool:
    """Whether DDP has to search every step's graph for trained weights that get no gradient."""
    if config.ddp_find_unused_parameters is not None:
        return config.ddp_find_unused_parameters
    return model is not None and not config.uses_deepspeed and may_lack_gradients(model)


def _ddp_backend(config: CommonConfig, on_cpu: bool) -> str | None:
    """None for a single process: transformers would expect a process group if a backend were named."""
    if num_workers() == 1:
        return None
    return config.ddp_backend or ("gloo" if on_cpu else "nccl")
