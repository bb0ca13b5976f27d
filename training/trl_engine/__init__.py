# SPDX-License-Identifier: Apache-2.0
"""``engine: trl``: run the same spec on TRL's own trainers."""
