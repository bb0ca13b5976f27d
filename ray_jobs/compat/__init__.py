# SPDX-License-Identifier: Apache-2.0
"""Where `tadrib.ray_jobs` uses Ray beyond its public interface, a file for each part of Ray.

Each entry says which Ray it was written for and why the public interface does not do; ``tests/compat`` fails once the
pinned Ray no longer needs it.
"""
