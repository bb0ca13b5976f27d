# SPDX-License-Identifier: Apache-2.0
"""What pydantic found in a spec, in the words and with the path that its writer typed."""
