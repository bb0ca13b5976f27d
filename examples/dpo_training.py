# SPDX-License-Identifier: Apache-2.0
"""DPO from Python, with LoRA: the reference is the same model with its adapters off.

First: `tadrib tiny-model models/tiny`, then `tadrib train examples/01-sft.yaml`.
"""

from tadrib.training.config import DPOConfig
from tadrib.training.dpo_trainer import create_dpo_trainer

config = DPOConfig(
    model_name="runs/sft-arabic/final",
    dataset_path="examples/data/dpo_train.jsonl",
    eval_dataset_path="examples/data/dpo_heldout.jsonl",
    output_dir="checkpoints/dpo",
    instruction_template="tokenizer",
    beta=0.1,
    lora_target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    learning_rate=3e-4,  # at 1e-3 accuracy rises as well, and the answers fall to pieces
    max_steps=60,
    per_device_train_batch_size=8,
    evaluation_strategy="no",
    gradient_checkpointing=False,
)

trainer = create_dpo_trainer(config)
print("held-out accuracy before:", trainer.evaluate()["eval_rewards/accuracies"])
trainer.train()
print("held-out accuracy after: ", trainer.evaluate()["eval_rewards/accuracies"])

comparison = trainer.generate_comparison("أبحث عن غرفة الأطفال.", max_length=32)
print("trained:  ", comparison["trained_model_response"])
print("reference:", comparison["reference_model_response"])
