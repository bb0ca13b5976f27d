# SPDX-License-Identifier: Apache-2.0
"""`tadrib doctor`: checks a cluster before anything is submitted."""
