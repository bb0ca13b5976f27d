# SPDX-License-Identifier: Apache-2.0
"""Runs on a Ray cluster: submitted as jobs, followed, listed and stopped."""
