# SPDX-License-Identifier: Apache-2.0
"""Configuration: what a run is, checked in milliseconds and without importing anything heavy."""

from tadrib.training.config.common import CommonConfig
from tadrib.training.config.loading import load_spec
from tadrib.training.config.methods import (
    CPOConfig,
    DPOConfig,
    IPOConfig,
    KTOConfig,
    SFTConfig,
    SimPOConfig,
)
from tadrib.training.config.registry import METHODS, Method
from tadrib.training.config.resolve import Resolved, adjust, resolve
from tadrib.training.config.resources import Resources
from tadrib.training.config.rules.adjusters import Adjustment
from tadrib.training.config.spec import JobSpec, parse_spec

__all__ = [
    "METHODS",
    "Adjustment",
    "CPOConfig",
    "CommonConfig",
    "DPOConfig",
    "IPOConfig",
    "JobSpec",
    "KTOConfig",
    "Method",
    "Resolved",
    "Resources",
    "SFTConfig",
    "SimPOConfig",
    "adjust",
    "load_spec",
    "parse_spec",
    "resolve",
]
