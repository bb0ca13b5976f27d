# SPDX-License-Identifier: Apache-2.0
"""LoRA and QLoRA adapters: which layers they adapt, and which adapters they build on."""
