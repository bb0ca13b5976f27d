# SPDX-License-Identifier: Apache-2.0
"""Models, tokenizers and adapter folders as they are found, checked and loaded."""
