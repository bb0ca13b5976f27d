# SPDX-License-Identifier: Apache-2.0
"""What the named templates write right before a response."""

from __future__ import annotations

ALPACA_RESPONSE = "### Response:\n"
"""Default of ``response_template``, which replaces it in the `alpaca` template."""

RESPONSE_MARKS = {
    "chatml": "<|im_start|>assistant\n",
    "qwen": "<|im_start|>assistant\n",
    "llama3": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma": "<start_of_turn>model\n",
}
"""The chat formats' own, which ``response_template`` may repeat."""
