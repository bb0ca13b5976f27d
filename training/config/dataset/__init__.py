# SPDX-License-Identifier: Apache-2.0
"""Settings of a single dataset: how its rows are laid out."""
