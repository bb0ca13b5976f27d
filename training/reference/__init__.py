# SPDX-License-Identifier: Apache-2.0
"""The reference model and its log-probs."""
