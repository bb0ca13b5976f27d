# SPDX-License-Identifier: Apache-2.0
"""Translate settings and rows for TRL 1.16, by method, and find settings that TRL does not support."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tadrib.training.config import (
    CommonConfig,
    CPOConfig,
    DPOConfig,
    IPOConfig,
    KTOConfig,
    SFTConfig,
    SimPOConfig,
)
from tadrib.training.config.metrics import plain_name
from tadrib.training.data.group import Group
from tadrib.training.errors import Problem
from tadrib.training.trl_engine.rows import cpo_row, kto_row, pair_row, sft_row, unsupported
from tadrib.training.trl_engine.trainers import StockCPO, StockDPO, StockKTO, StockSFT

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Translation:
    """How a method is run on TRL.

    ``trainer`` is the stock TRL trainer with what tadrib adds to it, ``settings`` returns keyword arguments for its
    config class. ``row`` converts a group to a row with the columns of TRL's own preprocessing. ``lacking`` finds
    settings that TRL does not support. ``masks`` says whether TRL supports answers of which only some tokens are
    scored, and ``in_order`` whether it reads rows in file order, which may be sorted by label.
    """

    trainer: Any

    settings: Callable[[Any], Settings]
    row: Callable[[Group], dict[str, Any]]
    lacking: Callable[[Any], Iterator[Problem]] = lambda config: iter(())
    masks: bool = False
    in_order: bool = False


# --- settings: rows are already truncated (max_length: None), and dropout stays as the spec sets it


def _sft_settings(config: SFTConfig) -> Settings:
    longest = config.max_seq_length if config.packing else None
    return {
        "packing": config.packing,
        "packing_strategy": "bfd",
        "max_length": longest,
        "neftune_noise_alpha": config.neftune_noise_alpha,
    }


def _dpo_settings(config: DPOConfig) -> Settings:
    terms = {config.loss_type: 1.0} | ({"sft": config.sft_weight} if config.sft_weight else {})
    return {
        "beta": config.beta,
        "loss_type": list(terms),
        "loss_weights": list(terms.values()),
        "label_smoothing": config.label_smoothing,
        "max_length": None,
        "disable_dropout": False,
    }


def _ipo_settings(config: IPOConfig) -> Settings:
    return {"beta": config.tau, "loss_type": ["ipo"], "max_length": None, "disable_dropout": False}


def _kto_settings(config: KTOConfig) -> Settings:
    return {
        "beta": config.beta,
        "desirable_weight": config.desirable_weight,
        "undesirable_weight": config.undesirable_weight,
        "train_sampling_strategy": "sequential",
        "max_length": None,
        "disable_dropout": False,
    }


def _cpo_settings(config: CPOConfig) -> Settings:
    return {
        "beta": config.beta,
        "loss_type": config.loss_type,
        "cpo_alpha": config.cpo_alpha,
        "simpo_gamma": config.simpo_gamma,
        "max_length": config.max_length,
        "disable_dropout": False,
    }


def _simpo_settings(config: SimPOConfig) -> Settings:
    return {
        "beta": config.beta,
        "loss_type": "simpo",
        "cpo_alpha": 0.0,
        "simpo_gamma": config.simpo_gamma,
        "max_length": config.max_length,
        "disable_dropout": False,
    }


# --- settings that TRL does not support


def _metric_lacking(config: CommonConfig, *names: str) -> Iterator[Problem]:
    metric = config.metric_for_best_model
    if plain_name(metric) in names:
        yield unsupported("metric_for_best_model", f"{metric}, which TRL does not log.", "Set eval_loss")


def _dpo_lacking(config: DPOConfig) -> Iterator[Problem]:
    yield from _metric_lacking(config, "kl")
    if config.label_smoothing and config.loss_type == "sigmoid":
        found = f"{config.label_smoothing}, which TRL's DPO ignores with loss_type: sigmoid."
        yield unsupported("label_smoothing", found, "Set loss_type: robust")


def _ipo_lacking(config: IPOConfig) -> Iterator[Problem]:
    yield from _metric_lacking(config, "kl")
    if config.label_smoothing:
        found = f"{config.label_smoothing}, but TRL's IPO has no label smoothing."
        yield unsupported("label_smoothing", found, "Set label_smoothing: 0")
    if config.length_normalization != "tokens":
        found = f"{config.length_normalization}, but TRL's IPO averages over tokens."
        yield unsupported("length_normalization", found, "Set length_normalization: tokens")


def _kto_lacking(config: KTOConfig) -> Iterator[Problem]:
    yield from _metric_lacking(config, "rewards/accuracies")
    if config.per_device_train_batch_size == 1:
        found = "1, but TRL's KTO takes its baseline from several rows."
        yield unsupported("per_device_train_batch_size", found, "Set per_device_train_batch_size: 2 or more")


def _cpo_lacking(config: CPOConfig) -> Iterator[Problem]:
    if config.multi_negative == "softmax":
        found = "softmax over all candidates, but TRL compares pairs."
        yield unsupported("multi_negative", found, "Set multi_negative: pairwise")


SFT = Translation(StockSFT, _sft_settings, sft_row, masks=True)
DPO = Translation(StockDPO, _dpo_settings, pair_row, _dpo_lacking)
IPO = Translation(StockDPO, _ipo_settings, pair_row, _ipo_lacking)
KTO = Translation(StockKTO, _kto_settings, kto_row, _kto_lacking, in_order=True)
CPO = Translation(StockCPO, _cpo_settings, cpo_row, _cpo_lacking, masks=True)
SIMPO = Translation(StockCPO, _simpo_settings, cpo_row, masks=True)
