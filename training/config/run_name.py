# SPDX-License-Identifier: Apache-2.0
"""Run name: what a run may be called, as its files and its Kubernetes objects are named after it."""

import re

NAME_LENGTH = 40  # KubeRay allows a RayJob 47 characters; the chart appends a revision
RUN_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


def as_label(text: str) -> str:
    """The name of a run that is nearest to ``text``; "" where nothing of it can be in a name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:NAME_LENGTH].strip("-")
