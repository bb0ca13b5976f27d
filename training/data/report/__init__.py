# SPDX-License-Identifier: Apache-2.0
"""The report on a dataset: lengths, duplicates and warnings."""
