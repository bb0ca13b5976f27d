# SPDX-License-Identifier: Apache-2.0
"""What runs a training: here, on a Ray cluster, or on Kubernetes."""

if (
    __name__ != "tadrib.ray_jobs"
):  # in a checkout the folder alone could be imported too, as a second copy of everything
    raise ImportError("ray_jobs is imported as tadrib.ray_jobs")
