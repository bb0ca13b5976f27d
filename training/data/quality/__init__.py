# SPDX-License-Identifier: Apache-2.0
"""The quality of data: repetition, contamination, scripts and markers, found in one pass with bounded memory."""
