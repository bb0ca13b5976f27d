# SPDX-License-Identifier: Apache-2.0
"""From rows in a file to groups of token ids: validation, templates, tokenization, length limits and splits."""
