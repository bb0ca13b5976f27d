# SPDX-License-Identifier: Apache-2.0
"""Locations: local paths, and URLs that may carry a query."""

from __future__ import annotations


def is_url(location: str) -> bool:
    return "://" in location


def inside(location: str, *names: str) -> str:
    """``names`` under ``location``; the query of a URL, which says how to reach the store, stays at the end."""
    base, mark, query = location.partition("?") if is_url(location) else (location, "", "")
    return "/".join([base.rstrip("/") or base, *names]) + mark + query
