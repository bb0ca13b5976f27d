# SPDX-License-Identifier: Apache-2.0
"""Rules across several settings: what is refused, and which default gives way."""
