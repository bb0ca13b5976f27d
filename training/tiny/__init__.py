# SPDX-License-Identifier: Apache-2.0
"""A tiny model with its own tokenizer, built offline."""
