# SPDX-License-Identifier: Apache-2.0
"""Configuration: what a run is, checked in milliseconds and without importing anything heavy."""

from training.config.common import CommonConfig
from training.config.loading import load_spec
from training.config.methods import (
    METHODS,
    CPOConfig,
    DPOConfig,
    IPOConfig,
    KTOConfig,
    SFTConfig,
    SimPOConfig,
)
from training.config.resolve import Resolved, adjust, resolve
from training.config.resources import Resources
from training.config.rules.adjusters import Adjustment
from training.config.spec import JobSpec, parse_spec

__all__ = [
    "METHODS",
    "Adjustment",
    "CPOConfig",
    "CommonConfig",
    "DPOConfig",
    "IPOConfig",
    "JobSpec",
    "KTOConfig",
    "Resolved",
    "Resources",
    "SFTConfig",
    "SimPOConfig",
    "adjust",
    "load_spec",
    "parse_spec",
    "resolve",
]
