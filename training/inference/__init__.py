# SPDX-License-Identifier: Apache-2.0
"""What comes after training: answers, and what servers read beside the weights."""
