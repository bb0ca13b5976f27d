# SPDX-License-Identifier: Apache-2.0
"""Runs training jobs: on this machine, on a Ray cluster, or on Kubernetes."""

# in a checkout the bare folder could be imported too, as a second copy of every module
if __name__ != "tadrib.ray_jobs":
    raise ImportError("ray_jobs is imported as tadrib.ray_jobs")
