# SPDX-License-Identifier: Apache-2.0
"""From rows in a file to groups of token ids: checked, written in a template, encoded, limited and split."""
