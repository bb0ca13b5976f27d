# SPDX-License-Identifier: Apache-2.0
"""Locations: local paths, and URLs that may carry a query."""

from __future__ import annotations

import glob
import os


def is_url(location: str) -> bool:
    return "://" in location


def is_here(path: str) -> bool:
    """Whether there is such a file or folder on this machine, or one that ``path`` matches as a glob."""
    return os.path.exists(path) or ("*" in path and next(glob.iglob(path), None) is not None)


def inside(location: str, *names: str) -> str:
    """``names`` under ``location``; the query of a URL, which says how to reach the store, stays at the end."""
    base, mark, query = location.partition("?") if is_url(location) else (location, "", "")
    return "/".join([base.rstrip("/") or base, *names]) + mark + query
