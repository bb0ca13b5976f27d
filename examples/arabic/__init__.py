# SPDX-License-Identifier: Apache-2.0
"""The Arabic that the bundled data sets are made of: numerals, word lists, questions and reply styles."""
