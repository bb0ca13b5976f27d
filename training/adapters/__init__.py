# SPDX-License-Identifier: Apache-2.0
"""LoRA and QLoRA adapters: on which layers, and on top of which others."""
