# SPDX-License-Identifier: Apache-2.0
"""Row models: validate the columns of each method, and convert rows to dialogues."""
