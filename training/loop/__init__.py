# SPDX-License-Identifier: Apache-2.0
"""The training loop: transformers' Trainer on packed groups, and its checkpoints."""
