# SPDX-License-Identifier: Apache-2.0
"""What ``final/`` says to plain transformers: the template that was trained and where answers end, so that it answers
as the trainer does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from tadrib.training.config import DPOConfig, SFTConfig
from tadrib.training.data.encoding import Encoder
from tadrib.training.data.generation import as_trained
from tadrib.training.data.rows.dialogue import Answer, Dialogue
from tadrib.training.model.tokenizer import load_tokenizer
from tadrib.training.sft_trainer import create_sft_trainer
from tests.data.builders import CHATML, build_sentencepiece, build_tokenizer, user, write_jsonl

ENDS = {
    "alpaca": "<|endoftext|>",
    "plain": "<|endoftext|>",
    "chatml": "<|im_end|>",
    "qwen": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "tokenizer": "<|im_end|>",
}
QUESTION, ANSWER = "ما عاصمة مصر؟", "القاهرة."


@cache
def base_model(chat_template: str | None) -> str:
    """The folder of a Qwen2 of one layer, whose generation config knows ``<|endoftext|>`` alone."""
    folder = mkdtemp(prefix="tadrib-test-")
    tokenizer = build_tokenizer(chat_template)
    torch.manual_seed(0)
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.2}
    ids = {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **size, **heads, **ids)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def config(tmp_path: Path, template: str, **fields: Any) -> SFTConfig:
    rows = [{"instruction": QUESTION, "response": ANSWER}] * 4
    return SFTConfig(
        model_name=base_model(CHATML if template == "tokenizer" else None),
        dataset_path=write_jsonl(tmp_path / "rows.jsonl", rows),
        output_dir=str(tmp_path / "out"),
        instruction_template=template,
        torch_dtype="float32",
        learning_rate=2e-2,
        max_steps=30,
        packing=False,
        gradient_checkpointing=False,
        save_strategy="no",
        logging_steps=30,
        lora_target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
        lora_alpha=64,
        lora_dropout=0.0,
        **fields,
    )


def answer(model: Any, folder: Path, **options: Any) -> list[int]:
    """New token ids from plain transformers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template([user(QUESTION)], add_generation_prompt=True, return_tensors="pt")
    ids = model.generate(**prompt, max_new_tokens=40, **options)[0]
    return ids[prompt["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("use_lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("template", ENDS)
def test_plain_transformers_answers_as_the_trainer_does(
    tmp_path: Path, template: str, use_lora: bool
) -> None:
    trainer = create_sft_trainer(config(tmp_path, template, use_lora=use_lora))
    trainer.train()
    final = trainer.save_model()
    tokenizer = AutoTokenizer.from_pretrained(final)
    assert tokenizer.eos_token == ENDS[template]
    ends = GenerationConfig.from_pretrained(final)
    if use_lora:  # peft takes generation's settings from the base model alone
        ids = answer(AutoPeftModelForCausalLM.from_pretrained(final), final, generation_config=ends)
    else:
        ids = answer(AutoModelForCausalLM.from_pretrained(final), final)
    assert tokenizer.decode(ids) == ANSWER + ENDS[template]
    assert trainer.predict(QUESTION, max_length=40) == ANSWER
    assert set(tokenizer.convert_ids_to_tokens(ends.eos_token_id)) == {"<|endoftext|>", ENDS[template]}


CHATS = {
    "one turn": [user("q ")],
    "system": [{"role": "system", "content": " be kind"}, user(" q")],
    "turns": [user("q"), {"role": "assistant", "content": "a\n"}, user("r")],
    "all": [{"role": "system", "content": "s"}, user("q"), {"role": "assistant", "content": "a"}, user("r")],
}


@pytest.mark.parametrize("kind", ["bytes", "bos", "normalizer", "always", "first", "never"])
@pytest.mark.parametrize("template", ["alpaca", "plain", "chatml", "qwen", "gemma"])
def test_the_saved_template_renders_the_ids_that_were_trained(kind: str, template: str) -> None:
    tokenizer = (
        build_tokenizer(adds_bos=kind == "bos")
        if kind in ("bytes", "bos")
        else build_sentencepiece(kind, CHATML)
    )
    settings = SFTConfig(instruction_template=template)
    saved = as_trained(settings, tokenizer)
    single = template in ("alpaca", "plain")
    for messages in [CHATS["one turn"]] if single else CHATS.values():
        prompt = messages[0]["content"] if single else messages
        said: Any = "a" if single else [{"role": "assistant", "content": "a"}]
        group = Encoder(tokenizer, settings, "sft").encode(Dialogue(prompt, (Answer("response", said),)))
        assert (
            saved.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) == group.prompt
        )
        whole = saved.apply_chat_template(
            [*messages, {"role": "assistant", "content": "a"}], return_dict=False
        )
        trained = group.prompt + group.completions[0].tokens
        assert whole[: len(trained)] == trained


def test_a_format_of_single_instructions_refuses_conversations_by_name() -> None:
    saved = as_trained(SFTConfig(instruction_template="alpaca"), build_tokenizer())
    with pytest.raises(Exception, match="trained on single instructions"):
        saved.apply_chat_template(CHATS["turns"])


@pytest.mark.parametrize("template", [name for name in ENDS if name != "tokenizer"])
def test_the_next_stage_goes_on_in_the_template_that_was_trained(tmp_path: Path, template: str) -> None:
    """By default a model's own template is taken, so SFT and what follows it agree; an instruction's ``input`` keeps
    its place."""
    tokenizer = load_tokenizer(config(tmp_path, template))
    saved = as_trained(SFTConfig(instruction_template=template), tokenizer)
    asked = Dialogue("i", (Answer("response", "r"),), input="x")
    first = Encoder(tokenizer, SFTConfig(instruction_template=template), "sft").encode(asked)
    for following in (SFTConfig(), DPOConfig()):
        assert Encoder(saved, following, "sft").encode(asked) == first


def test_the_default_is_the_models_own_template_else_alpaca_or_plain() -> None:
    def prompt(config: Any, chat_template: str | None) -> str:
        tokenizer = build_tokenizer(chat_template)
        return tokenizer.decode(Encoder(tokenizer, config, "sft").encode(Dialogue("i", ())).prompt)

    own = "<|im_start|>user\ni<|im_end|>\n<|im_start|>assistant\n"
    assert prompt(SFTConfig(), CHATML) == prompt(DPOConfig(), CHATML) == own
    assert prompt(SFTConfig(), None).endswith("### Instruction:\ni\n\n### Response:\n")
    assert prompt(SFTConfig(instruction_template="alpaca"), CHATML) == prompt(SFTConfig(), None)
    assert prompt(SFTConfig(response_template="### الجواب:\n"), CHATML).endswith("\ni\n\n### الجواب:\n")
    assert prompt(DPOConfig(), None) == "i"


def test_a_change_of_template_between_stages_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def told(trained: str, following: str) -> bool:
        settings = config(tmp_path, trained)
        trainer = create_sft_trainer(settings.replace(instruction_template=following))
        trainer.tokenizer = as_trained(settings, load_tokenizer(settings))
        caplog.clear()
        trainer.load_and_validate_dataset()
        found = f"instruction_template: {following} renders prompts differently than the chat template of"
        return found in caplog.text

    same = [("chatml", "chatml"), ("chatml", "qwen"), ("chatml", "auto"), ("chatml", "tokenizer")]
    same += [("alpaca", "alpaca"), ("plain", "plain"), ("gemma", "gemma"), ("llama3", "auto")]
    assert [pair for pair in same if told(*pair)] == []
    other = [
        ("chatml", "plain"),
        ("chatml", "alpaca"),
        ("alpaca", "chatml"),
        ("gemma", "llama3"),
        ("plain", "gemma"),
    ]
    assert [pair for pair in other if not told(*pair)] == []
