# SPDX-License-Identifier: Apache-2.0
"""Look at single rows as the model sees them."""
