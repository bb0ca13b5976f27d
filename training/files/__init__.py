# SPDX-License-Identifier: Apache-2.0
"""Files of a run: atomic replacement, containment, hashes, and the same in an object store."""
