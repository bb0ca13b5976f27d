# SPDX-License-Identifier: Apache-2.0
"""When an entry of `training.compat.deepspeed` may go; apart from the others, as importing DeepSpeed takes seconds."""

from __future__ import annotations

import importlib
import inspect
import pickle

import pytest
import torch

from tadrib.training.compat.deepspeed import compile_no_shared_memory, records, whole

deepspeed = pytest.importorskip("deepspeed")


def test_deepspeed_still_compiles_for_inference_as_it_starts():
    of_torch = importlib.import_module("deepspeed.comm.torch")  # by attribute it is torch itself
    assert "ShareMemCommBuilder" in inspect.getsource(of_torch)
    before = dict(deepspeed.ops.__compatible_ops__)
    assert "deepspeed_shm_comm" in before
    try:
        compile_no_shared_memory()
        assert deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] is False
    finally:
        deepspeed.ops.__compatible_ops__.update(before)


def test_the_records_of_its_checkpoints_are_still_no_data_to_torch(tmp_path):
    found = {each.__name__: each for each in records()}
    torch.save({"scaler": found["LossScaler"](1.0)}, tmp_path / "states.pt")
    with pytest.raises(pickle.UnpicklingError, match="LossScaler"):
        torch.load(tmp_path / "states.pt", weights_only=True)
    with torch.serialization.safe_globals(list(found.values())):
        assert torch.load(tmp_path / "states.pt", weights_only=True)["scaler"].cur_scale == 1.0


def test_weights_that_are_whole_are_left_alone():
    weight = torch.nn.Parameter(torch.ones(2))
    with whole([weight]):
        assert weight.tolist() == [1.0, 1.0]
