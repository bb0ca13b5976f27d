# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.gpu`: a check of a GPU, in parts."""
