# SPDX-License-Identifier: Apache-2.0
"""PEFT 0.21.2: which layers it refuses to adapt in a family of models.

It says so only by raising ValueError once a model is wrapped, for the first such layer:
https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/tuners_utils.py
"""

from __future__ import annotations

from peft import LoraConfig
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from transformers import PreTrainedModel

MADE_FOR = "0.21.2"


def refuses(model: PreTrainedModel, last: str) -> bool:
    """Whether PEFT refuses layers whose names end in ``last``, as the model reads their weight past an adapter."""
    try:
        _check_lora_target_modules_mamba(LoraConfig(), model, last)
    except ValueError:
        return True
    return False
