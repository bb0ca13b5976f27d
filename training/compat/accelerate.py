# SPDX-License-Identifier: Apache-2.0
"""accelerate 1.15.0: saving a model without importing DeepSpeed.

It imports DeepSpeed, which takes seconds, only to see that no model is wrapped in it:
https://github.com/huggingface/accelerate/blob/v1.15.0/src/accelerate/utils/other.py
"""

from __future__ import annotations

import sys

MADE_FOR = "1.15.0"


def import_deepspeed_on_demand() -> None:
    """Have accelerate take DeepSpeed for absent until something else has imported it."""
    from accelerate.utils import other

    other.is_deepspeed_available = lambda: "deepspeed" in sys.modules
