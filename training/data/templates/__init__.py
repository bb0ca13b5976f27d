# SPDX-License-Identifier: Apache-2.0
"""Templates: how a dialogue is rendered for a model."""
