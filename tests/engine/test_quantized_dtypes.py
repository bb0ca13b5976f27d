# SPDX-License-Identifier: Apache-2.0
"""A 4-bit model that computes in bfloat16 does so throughout, and keeps no more for the backward pass than with TRL."""

from __future__ import annotations

import torch

from tadrib.training.engine.policy import plain_attention
from tadrib.training.trainers import create_trainer
from tests.adapters.test_starting_points import config


def saved_bytes(model: torch.nn.Module, ids: torch.Tensor) -> tuple[int, set[torch.dtype]]:
    """Bytes of the activations that autograd keeps of the decoder's forward, and the dtypes of the residual stream
    and of what attention reads."""
    decoder = model.get_base_model().model
    kinds: set[torch.dtype] = set()
    hooks = [
        module.register_forward_hook(
            lambda m, i, output: kinds.add((output[0] if isinstance(output, tuple) else output).dtype)
        )
        for name, module in decoder.named_modules()
        if name.endswith(("embed_tokens", "norm", "q_proj", "v_proj", "mlp"))
        or name.split(".")[-2:-1] == ["layers"]
    ]
    kept: dict[int, int] = {}
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with plain_attention(model.get_base_model()), torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        output = decoder(
            input_ids=ids, use_cache=False
        ).last_hidden_state  # alive, as what it keeps is counted
    for hook in hooks:
        hook.remove()
    assert output.requires_grad
    return sum(kept.values()), kinds


def test_no_activation_of_the_residual_stream_is_float32_and_none_more_is_kept_than_by_trl(tmp_path):
    ids = torch.randint(5, 200, (1, 256), generator=torch.Generator().manual_seed(0))
    found = {}
    for engine in ("tadrib", "trl"):
        given = config(tmp_path, "sft", load_in_4bit=True, torch_dtype="bfloat16", lora_dropout=0.0)
        trainer = create_trainer("sft", given, engine=engine)
        trainer.get_trainer()
        found[engine] = saved_bytes(trainer.get_model(), ids)

    assert found["tadrib"][1] == {torch.bfloat16}
    assert abs(found["tadrib"][0] / found["trl"][0] - 1) < 0.05
