# SPDX-License-Identifier: Apache-2.0
"""Load the reference model."""

from __future__ import annotations

from transformers import PreTrainedModel

from tadrib.training.config import CommonConfig
from tadrib.training.engine.policy import install_scoring
from tadrib.training.model.load import load_model
from tadrib.training.model.source import ModelSource


def load_reference_model(config: CommonConfig, source: ModelSource) -> PreTrainedModel:
    """The model at ``source``, frozen and prepared for scoring."""
    model = load_model(config, source, trained=False)
    install_scoring(model)
    return model.requires_grad_(False).eval()
