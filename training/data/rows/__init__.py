# SPDX-License-Identifier: Apache-2.0
"""Row models: the columns of each method, checked, as one dialogue form."""
