# SPDX-License-Identifier: Apache-2.0
"""One worker of a run."""
