# SPDX-License-Identifier: Apache-2.0
"""Merge models and adapters: tensor by tensor, in blocks of rows, from safetensors to safetensors."""

TITLE = "the models cannot be merged"
"""The title of a merge's refusals."""
