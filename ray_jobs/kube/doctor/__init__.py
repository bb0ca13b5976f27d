# SPDX-License-Identifier: Apache-2.0
"""`tadrib doctor`: what a cluster lacks, found before anything is submitted."""
