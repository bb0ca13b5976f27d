# SPDX-License-Identifier: Apache-2.0
"""Formats of other tools' rows, each recognised by columns and values and turned into the rows of a method."""
