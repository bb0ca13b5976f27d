# SPDX-License-Identifier: Apache-2.0
"""Whether liger-kernel has kernels for a model; transformers passes over one it does not know with a log line."""

from __future__ import annotations

import importlib.util

from transformers import PreTrainedModel

from tadrib.training.errors import Problem, ResourceError, SpecError

_KEY = "use_liger_kernel"


def require_liger(model: PreTrainedModel) -> None:
    """Raise ResourceError if liger-kernel is not installed, and SpecError if it does not know this kind of model."""
    if importlib.util.find_spec("liger_kernel") is None:
        found = "true, but liger-kernel is not installed where training runs."
        action = f"Install it with `pip install liger-kernel`, or set {_KEY}: false."
        raise ResourceError("training cannot begin", [Problem(_KEY, found, action)])
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    kind = model.config.model_type
    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        found = f"true, but liger-kernel has no kernels for a model of type {kind}."
        raise SpecError("training cannot begin", [Problem(_KEY, found, f"Set {_KEY}: false.")])
