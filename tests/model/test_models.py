# SPDX-License-Identifier: Apache-2.0
"""Loading base models."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tadrib.training.config import SFTConfig
from tadrib.training.model.load import load_model


def test_an_evaluation_leaves_the_gradients_of_a_4_bit_model_as_they_were(tmp_path):
    """Llama, as its layers have no bias: where they do, a layout without gradients at least raises."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=128, **shape)).save_pretrained(tmp_path)
    model = load_model(SFTConfig(model_name=str(tmp_path), load_in_4bit=True, torch_dtype="float32"))
    ids = torch.arange(16).unsqueeze(0)

    before = embedding_gradient(model.train(), ids)
    with torch.no_grad():
        evaluated = model.eval()(ids, labels=ids).loss
    after = embedding_gradient(model.train(), ids)

    assert before.abs().sum() > 0
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(model(ids, labels=ids).loss.detach(), evaluated)


def embedding_gradient(model, ids):
    embeddings = model.get_input_embeddings()(ids).detach().requires_grad_()
    model(inputs_embeds=embeddings, labels=ids).loss.backward()
    return embeddings.grad
