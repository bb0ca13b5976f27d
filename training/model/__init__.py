# SPDX-License-Identifier: Apache-2.0
"""Models, tokenizers and adapter folders: found, checked and loaded."""
