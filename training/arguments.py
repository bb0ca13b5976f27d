# SPDX-License-Identifier: Apache-2.0
"""A config as transformers' `TrainingArguments`."""

from __future__ import annotations

import os

from transformers import TrainingArguments

from training.config import CommonConfig
from training.hardware import local_device


def training_arguments(config: CommonConfig) -> TrainingArguments:
    """Translate field by field; what our engine does itself (data order, packing, logging names) is not handed over."""
    on_cpu = local_device().type == "cpu"
    autocast = None if config.use_lora else config.torch_dtype
    return TrainingArguments(
        output_dir=config.output_dir,
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_train_epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.per_device_train_batch_size,
        per_device_eval_batch_size=config.per_device_eval_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        activation_checkpointing=config.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
        warmup_steps=config.warmup_ratio,
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
        logging_steps=config.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        report_to=config.report_to or "none",
        seed=config.seed,
        dataloader_num_workers=config.dataloader_num_workers,
        dataloader_pin_memory=not on_cpu
        if config.dataloader_pin_memory is None
        else config.dataloader_pin_memory,
        ddp_backend=_ddp_backend(config, on_cpu),
        ddp_find_unused_parameters=bool(config.ddp_find_unused_parameters),
        deepspeed=config.deepspeed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
    )


def _ddp_backend(config: CommonConfig, on_cpu: bool) -> str | None:
    """None for a single process: transformers would take a named backend as a promise of a process group."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return None
    return config.ddp_backend or ("gloo" if on_cpu else "nccl")
