# SPDX-License-Identifier: Apache-2.0
"""SFT from Python: train, evaluate, save, load, ask; about a minute. First: `tadrib tiny-model models/tiny`."""

from tadrib.training.config import SFTConfig
from tadrib.training.sft_trainer import create_sft_trainer

config = SFTConfig(
    model_name="models/tiny",
    dataset_path="examples/data/sft_train.jsonl",
    eval_dataset_path="examples/data/sft_heldout.jsonl",
    output_dir="checkpoints/sft",
    instruction_template="tokenizer",
    use_lora=False,
    learning_rate=2e-3,
    num_train_epochs=8,
    max_seq_length=320,
    per_device_train_batch_size=2,
    eval_steps=200,
    save_steps=200,
    gradient_checkpointing=False,
)

trainer = create_sft_trainer(config)
print("before:", trainer.evaluate()["eval_perplexity"])
trainer.train()
print("after: ", trainer.evaluate()["eval_perplexity"])
path = trainer.save_model()

trained = create_sft_trainer(config)
trained.load_model(path)
print(trained.generate_response("ما عاصمة مصر؟", max_length=24))
