# SPDX-License-Identifier: Apache-2.0
"""A file of each format, checked as `tadrib data check` does and trained on for three steps."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tadrib.training.config import METHODS
from tadrib.training.data.report.check import check_data
from tests.data.builders import write_jsonl
from tests.data.test_formats import FORMS, ROWS
from tests.data.test_meaningful_fields import TOOL_TEMPLATE
from tests.tiny import tiny_model

STEPS = 3


@cache
def model_with_tools() -> str:
    """The tiny model, with a chat template that has places for tools, calls and their results."""
    folder = mkdtemp(prefix="tadrib-tools-")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    tokenizer.chat_template = TOOL_TEMPLATE
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(tiny_model()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_a_format_is_checked_and_trained_on(tmp_path: Path, form: str) -> None:
    method, name, build = FORMS[form]
    path = write_jsonl(tmp_path / "rows.jsonl", [build(n)[0] for n in range(ROWS)])
    settings = METHODS[method].config(
        model_name=model_with_tools(),
        dataset_path=path,
        output_dir=str(tmp_path / "out"),
        max_steps=STEPS,
        per_device_train_batch_size=2,
        logging_steps=1,
        save_strategy="no",
        gradient_checkpointing=False,
        torch_dtype="float32",
    )
    trainer = METHODS[method].trainer_class(settings)
    report = check_data(path, method, settings, trainer.get_tokenizer())
    assert (report.refusals, report.usable_rows, report.formats) == ([], ROWS, {name: ROWS})
    metrics = trainer.train()
    assert trainer.get_trainer().state.global_step == STEPS
    assert math.isfinite(metrics["train_loss"])
    assert trainer.data is not None
    assert {group.row for group in trainer.data.train} == set(range(ROWS))
