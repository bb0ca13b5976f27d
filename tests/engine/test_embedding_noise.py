# SPDX-License-Identifier: Apache-2.0
"""NEFTune's noise: as large as each token's own sequence says, in training alone."""

from __future__ import annotations

import pytest
import torch

from tadrib.training.config import DPOConfig, SFTConfig
from tadrib.training.engine.collate import collate
from tadrib.training.engine.embedding_noise import sequence_lengths
from tadrib.training.engine.policy import install_scoring, set_scoring_path
from tadrib.training.errors import SpecError
from tadrib.training.trainers import create_trainer
from tests.adapters.test_starting_points import config
from tests.engine.builders import build_groups, build_model

ALPHA = 5.0


@pytest.mark.parametrize("path", ["packed", "dense", "separate"])
def test_noise_is_bounded_by_the_length_of_each_sequence(path):
    """``|noise| <= alpha / sqrt(L d)`` (algorithm 1), uniform: its mean square is a third of the bound's square."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(build_model("qwen2").config)
    install_scoring(model, ALPHA)
    set_scoring_path(model, path)
    groups = build_groups(4, 1)
    batch = collate(groups, path=path)
    embedding = model.get_input_embeddings()
    seen: list[torch.Tensor] = []
    model.model.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0]), with_kwargs=True
    )

    model.eval()(**batch.model_inputs())
    torch.testing.assert_close(seen[0], embedding.weight[batch.input_ids], rtol=0, atol=0)
    model.train()(**batch.model_inputs())
    noise = seen[1] - embedding.weight[batch.input_ids]
    lengths = sequence_lengths(batch.position_ids, batch.attention_mask)
    bound = ALPHA / (lengths * noise.shape[-1]).sqrt()

    expected = [len(g.prompt) + len(c.tokens) for g in groups for c in g.completions]
    assert sorted(set(lengths.flatten().tolist())) == sorted(set(expected))
    share = noise / bound[..., None]
    assert share.abs().max() <= 1 + 1e-5
    assert share.abs().max() > 0.99
    assert share.square().mean().item() == pytest.approx(1 / 3, abs=0.02)
    model.eval()(**batch.model_inputs())
    torch.testing.assert_close(seen[2], seen[0], rtol=0, atol=0)


@pytest.mark.parametrize("engine", ["tadrib", "trl"])
def test_a_run_learns_with_noise_and_is_evaluated_without(tmp_path, engine):
    losses, evaluated = {}, {}
    for alpha in (None, 50.0):
        given = config(tmp_path, "sft", neftune_noise_alpha=alpha, max_steps=1, lora_dropout=0.0)
        trainer = create_trainer("sft", given, engine=engine)
        inner = trainer.get_trainer()
        evaluated[alpha] = inner.evaluate(inner.train_dataset)["eval_loss"]
        trainer.train()
        losses[alpha] = next(row["loss"] for row in inner.state.log_history if "loss" in row)

    assert evaluated[None] == evaluated[50.0]
    assert abs(losses[None] - losses[50.0]) > 1e-2


def test_only_sft_has_noise():
    assert SFTConfig(neftune_noise_alpha=5).neftune_noise_alpha == 5
    with pytest.raises(SpecError, match="neftune_noise_alpha"):
        DPOConfig(neftune_noise_alpha=5)
