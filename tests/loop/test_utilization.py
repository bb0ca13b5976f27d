# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from tadrib.training.loop.utilization import flops_per_token, peak_of


def test_a_trained_weight_costs_six_operations_a_token_and_a_frozen_one_four():
    """3 x 5 trained weights and 5 x 2 frozen ones: 15 * 6 + 10 * 4 = 130."""
    model = torch.nn.Sequential(torch.nn.Linear(5, 3, bias=False), torch.nn.Linear(2, 5, bias=False))
    model[1].requires_grad_(False)
    assert flops_per_token(model) == 130


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA A10G", 70e12),
        ("Some GPU of 2031", None),
    ],
)
def test_the_peak_is_that_of_the_gpu_named_or_unknown(name, peak):
    assert peak_of(name) == peak
