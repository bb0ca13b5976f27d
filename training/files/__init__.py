# SPDX-License-Identifier: Apache-2.0
"""Files of a run: replaced whole, contained, hashed, and the same in an object store."""
