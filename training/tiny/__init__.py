# SPDX-License-Identifier: Apache-2.0
"""A tiny model with a tokenizer of its own, made offline."""
