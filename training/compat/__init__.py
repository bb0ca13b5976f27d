# SPDX-License-Identifier: Apache-2.0
"""Where `tadrib.training` uses other libraries beyond their public interface, a file for each library.

Each entry says which version it was written for, why the public interface does not do, and where that stands upstream;
``tests/compat`` fails once the pinned version no longer needs it.
"""
