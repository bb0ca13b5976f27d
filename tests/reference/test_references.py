# SPDX-License-Identifier: Apache-2.0
"""References of another architecture than the policy's: each model scores on the path that is right for it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tadrib.training.data.group import Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.data.prepare import PreparedData
from tadrib.training.errors import TrainingError
from tadrib.training.trainers import create_trainer
from tests.architectures.families import build
from tests.architectures.measure import rows
from tests.parity.builders import model_folder, settings

OTHERS = ["GPT-OSS", "Qwen3-Next", "Falcon (ALiBi)"]
PLAIN = "Qwen2, Qwen2.5"


@cache
def folder(name: str) -> str:
    """A family's model as a user has it: on disk, with a tokenizer."""
    target = Path(mkdtemp(prefix="tadrib-reference-")) / "model"
    build(name).save_pretrained(target)
    AutoTokenizer.from_pretrained(model_folder("qwen2")).save_pretrained(target)
    return str(target)


def alone(name: str, group: Group) -> list[float]:
    """Summed log-prob of each completion by transformers alone."""
    model = AutoModelForCausalLM.from_pretrained(folder(name), dtype=torch.float32).eval()
    sums = []
    for completion in group.completions:
        ids = torch.tensor([[*group.prompt, *completion.tokens]])
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, len(group.prompt) - 1 : -1]
        targets = ids[0, len(group.prompt) :, None]
        sums.append(logits.log_softmax(-1).gather(1, targets).sum().item())
    return sums


def reference_scores(policy: str, reference: str, source: str, where: Path) -> dict[int, list[float]]:
    """The reference's summed log-probs that a run's batches have, training and held-out, by row."""
    groups = [Group(group.prompt, group.completions, row) for row, group in enumerate(rows("dpo", "short"))]
    data = PreparedData(
        GroupDataset.from_groups(groups[:4]), GroupDataset.from_groups(groups[4:]), report=None
    )
    given = settings(
        "dpo",
        "qwen2",
        where,
        lora=source == "model",
        model_name=folder(policy),
        ref_model_name=folder(reference),
        lora_target_modules="all-linear",
        per_device_train_batch_size=3,
        reference=source,
    )
    engine = create_trainer("dpo", given, data).get_trainer()
    found = {}
    for loader in (engine.get_train_dataloader(), engine.get_eval_dataloader()):
        for inputs in loader:
            batch = engine._with_reference(engine._prepare_inputs(inputs))
            scores = batch.reference.split(torch.bincount(batch.group_of_completion).tolist())
            found |= dict(zip(batch.rows, [each.tolist() for each in scores], strict=True))
    return found


@pytest.mark.parametrize("source", ["model", "cache"])
@pytest.mark.parametrize(
    ("policy", "reference"), [*((PLAIN, other) for other in OTHERS), *((other, PLAIN) for other in OTHERS)]
)
def test_the_reference_scores_as_transformers_whatever_the_policys_architecture(
    tmp_path, policy, reference, source
):
    """Rows within a window come first, those that cross it after them and in the held-out set alone."""
    groups = rows("dpo", "short")

    found = reference_scores(policy, reference, source, tmp_path)

    assert sorted(found) == list(range(len(groups)))
    for row, group in enumerate(groups):
        assert found[row] == pytest.approx(alone(reference, group), abs=1e-4)


@pytest.mark.parametrize("source", ["model", "cache"])
def test_a_reference_that_is_wrong_on_long_rows_alone_is_refused_by_its_name(tmp_path, source):
    """Dynamic RoPE is right on the first rows, which are short."""
    reference = "Llama with dynamic RoPE"

    with pytest.raises(TrainingError, match="dynamic RoPE") as refusal:
        reference_scores(PLAIN, reference, source, tmp_path)

    assert folder(reference) in str(refusal.value)
