# SPDX-License-Identifier: Apache-2.0
"""KTO, IPO, CPO and SimPO from Python, one after the other on their own bundled rows.

First: `tadrib tiny-model models/tiny`, then `tadrib train examples/01-sft.yaml`.
"""

from training.config import CPOConfig, IPOConfig, KTOConfig, SimPOConfig
from training.preference_trainer import (
    create_cpo_trainer,
    create_ipo_trainer,
    create_kto_trainer,
    create_simpo_trainer,
)

METHODS = {
    "kto": (create_kto_trainer, KTOConfig),
    "ipo": (create_ipo_trainer, IPOConfig),
    "cpo": (create_cpo_trainer, CPOConfig),
    "simpo": (create_simpo_trainer, SimPOConfig),
}

for method, (create, config_class) in METHODS.items():
    trainer = create(
        config_class(
            model_name="runs/sft-arabic/final",
            dataset_path=f"examples/data/{method}_train.jsonl",
            eval_dataset_path=f"examples/data/{method}_heldout.jsonl",
            output_dir=f"checkpoints/{method}",
            instruction_template="tokenizer",
            learning_rate=2e-3,
            max_steps=40,
            per_device_train_batch_size=8,
            evaluation_strategy="no",
            gradient_checkpointing=False,
        )
    )
    before = trainer.evaluate()["eval_rewards/accuracies"]
    trainer.train()
    print(f"{method}: held-out accuracy {before:.2f} -> {trainer.evaluate()['eval_rewards/accuracies']:.2f}")
