# SPDX-License-Identifier: Apache-2.0
"""Readers: raw rows from files of any supported format, local or remote."""
