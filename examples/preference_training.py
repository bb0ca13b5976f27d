# SPDX-License-Identifier: Apache-2.0
"""KTO, IPO, CPO and SimPO from Python, one after the other on their own bundled rows.

First: `tadrib tiny-model models/tiny`, then `tadrib train examples/01-sft.yaml`.
"""

from collections.abc import Callable

from tadrib.training.config import CPOConfig, IPOConfig, KTOConfig, SimPOConfig
from tadrib.training.config.methods import PreferenceConfig
from tadrib.training.preference_trainer import (
    PreferenceTrainer,
    create_cpo_trainer,
    create_ipo_trainer,
    create_kto_trainer,
    create_simpo_trainer,
)

METHODS: dict[str, tuple[Callable[..., PreferenceTrainer], Callable[..., PreferenceConfig], float, str]] = {
    "kto": (create_kto_trainer, KTOConfig, 2e-4, "قل لي متى يفتح مكتب البريد أبوابه."),
    "ipo": (create_ipo_trainer, IPOConfig, 5e-4, "ما ضد كلمة حلو؟"),
    "cpo": (create_cpo_trainer, CPOConfig, 5e-4, "ما لون الشمس؟"),
    "simpo": (create_simpo_trainer, SimPOConfig, 5e-4, "ما ثمن المصباح؟"),
}

for method, (create, config_class, learning_rate, question) in METHODS.items():
    trainer = create(
        config_class(
            model_name="runs/sft-arabic/final",
            dataset_path=f"examples/data/{method}_train.jsonl",
            eval_dataset_path=f"examples/data/{method}_heldout.jsonl",
            output_dir=f"checkpoints/{method}",
            instruction_template="tokenizer",
            lora_target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            learning_rate=learning_rate,
            max_steps=90,
            per_device_train_batch_size=8,
            evaluation_strategy="no",
            gradient_checkpointing=False,
        )
    )
    before = trainer.evaluate()["eval_rewards/accuracies"]
    trainer.train()
    after = trainer.evaluate()["eval_rewards/accuracies"]
    answers = trainer.generate_comparison(question, max_length=32)
    print(f"{method}: held-out accuracy {before:.2f} -> {after:.2f}")
    print(
        f"  {question}  {answers['trained_model_response']}  (before: {answers['reference_model_response']})"
    )
