# SPDX-License-Identifier: Apache-2.0
"""After training: generation, and the files that servers read with the weights."""
