# SPDX-License-Identifier: Apache-2.0
"""``use_liger_kernel``: fused norms, RoPE and MLPs, never the head, and never passed over in silence."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from transformers import AutoModelForCausalLM

from tadrib.training.config import SFTConfig
from tadrib.training.errors import ResourceError, SpecError
from tadrib.training.loop.arguments import training_arguments
from tadrib.training.model import liger
from tests.architectures.families import build
from tests.tiny import tiny_model


def test_the_head_is_left_to_our_own_scoring(tmp_path):
    arguments = training_arguments(SFTConfig(output_dir=str(tmp_path), torch_dtype="float32"))
    assert not arguments.use_liger_kernel
    assert arguments.liger_kernel_config == {"cross_entropy": False, "fused_linear_cross_entropy": False}


def test_a_machine_without_liger_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(liger.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"use_liger_kernel: .*pip install liger-kernel"):
        liger.require_liger(AutoModelForCausalLM.from_pretrained(tiny_model()))


def test_a_model_that_liger_does_not_know_is_named(monkeypatch):
    known = ModuleType("liger_kernel.transformers.monkey_patch")
    known.MODEL_TYPE_TO_APPLY_LIGER_FN = {"qwen2": None}
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, known.__name__, known)
    monkeypatch.setattr(liger.importlib.util, "find_spec", lambda name: object())

    liger.require_liger(AutoModelForCausalLM.from_pretrained(tiny_model()))
    with pytest.raises(SpecError, match="no kernels for a model of type gpt2"):
        liger.require_liger(build("GPT-2"))
