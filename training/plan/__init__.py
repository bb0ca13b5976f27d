# SPDX-License-Identifier: Apache-2.0
"""What a run will take before it starts: the memory of each part, from a model's config.json alone."""
