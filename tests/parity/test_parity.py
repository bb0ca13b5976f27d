# SPDX-License-Identifier: Apache-2.0
"""Loss and gradient of every method equal those of TRL 1.16 on the same rows."""

import pytest
import torch
from trl import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from tadrib.training.config import METHODS
from tadrib.training.data.lengths import Limits, fit
from tests.parity.builders import ROLES, assert_equal, both_engines, build_rows, compute, settings

CASES = {
    "sft": ("sft", {"packing": False}),
    "sft-packed": ("sft", {"packing": True, "max_seq_length": 200}),
    "dpo-sigmoid": ("dpo", {"loss_type": "sigmoid"}),
    "dpo-hinge": ("dpo", {"loss_type": "hinge"}),
    "dpo-ipo": ("dpo", {"loss_type": "ipo", "beta": 0.3}),
    "dpo-robust": ("dpo", {"loss_type": "robust", "label_smoothing": 0.2}),
    "dpo-with-an-sft-term": ("dpo", {"sft_weight": 0.5}),
    "ipo": ("ipo", {"tau": 0.3}),
    "kto": ("kto", {"desirable_weight": 1.3, "undesirable_weight": 0.7}),
    "cpo-sigmoid": ("cpo", {"loss_type": "sigmoid", "cpo_alpha": 0.7}),
    "cpo-hinge": ("cpo", {"loss_type": "hinge"}),
    "cpo-simpo": ("cpo", {"loss_type": "simpo", "simpo_gamma": 0.4}),
    "simpo": ("simpo", {"simpo_gamma": 0.4}),
}


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
@pytest.mark.parametrize(("method", "changes"), CASES.values(), ids=CASES)
def test_loss_and_gradient_equal_trl(tmp_path, method, changes, architecture, lora):
    config = settings(method, architecture, tmp_path, lora, **changes)
    ours, theirs = both_engines(method, config, build_rows(ROLES[method], masked=method in ("sft", "cpo")))

    assert_equal(compute(ours), compute(theirs))
    assert ours.trainer.path_choice.path == "packed"


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_kto_measures_against_the_same_baseline(tmp_path, lora):
    config = settings("kto", "qwen2", tmp_path, lora)
    baselines = []
    for step in (
        0.01,
        -0.01,
    ):  # what one makes less likely the other makes more likely: one baseline is above 0
        ours, theirs = both_engines("kto", config, build_rows(ROLES["kto"]))
        assert_equal(compute(ours, step), compute(theirs, step))
        baselines.append(theirs.trainer._metrics["train"]["kl"][-1])

    assert max(baselines) > 0.01


@pytest.mark.parametrize("method", ["dpo", "kto", "cpo"])
def test_cut_rows_equal_trl_too(tmp_path, method):
    config = settings(method, "llama", tmp_path, lora=True, max_prompt_length=25, max_length=60)
    whole = build_rows(ROLES[method])
    cut = [fit(group, Limits.of(config, method), "truncate", bos=None) for group in whole]
    ours, theirs = both_engines(method, config, cut)

    assert sum(group != given for group, given in zip(cut, whole, strict=True)) == 3
    assert_equal(compute(ours), compute(theirs))


@pytest.mark.parametrize(
    ("method", "collator"),
    [("dpo", DataCollatorForPreference), ("kto", DataCollatorForUnpairedPreference)],
)
def test_our_cut_is_the_one_that_trl_would_make(tmp_path, method, collator):
    config = settings(method, "qwen2", tmp_path, lora=True, max_prompt_length=39, max_length=40)
    whole = build_rows(ROLES[method], prompts=[1, 39, 3, 30, 12, 2])
    cut = [fit(group, Limits.of(config, method), "truncate", bos=None) for group in whole]
    row = METHODS[method].on_trl.row

    ours = collator(pad_token_id=0)([row(group) for group in cut])
    theirs = collator(pad_token_id=0, max_length=40)([row(group) for group in whole])

    assert sum(group != given for group, given in zip(cut, whole, strict=True)) > 2
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_prompt_that_fills_max_length_is_cut_where_trl_drops_the_row(tmp_path):
    config = settings("dpo", "qwen2", tmp_path, lora=True, max_prompt_length=20, max_length=40)
    [whole] = build_rows(ROLES["dpo"], prompts=[70])
    cut = fit(whole, Limits.of(config, "dpo"), "truncate", bos=None)

    assert len(cut.prompt) == 20
    assert [len(c.tokens) for c in cut.completions] == [20, 5]
    assert not hasattr(DPOConfig, "max_prompt_length"), "TRL can cut prompts again; compare with it"
