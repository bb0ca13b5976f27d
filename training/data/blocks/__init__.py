# SPDX-License-Identifier: Apache-2.0
"""Rows in blocks: read, checked and encoded a few thousand at a time, by any number of processes, and kept in files."""
