# SPDX-License-Identifier: Apache-2.0
"""The cluster that tests of submission share."""

from collections.abc import Iterator

import pytest

from tests.ray.clusters import RayCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head that takes no worker, and two nodes that take one each, with token auth."""
    cluster = RayCluster()
    try:
        cluster.start()
        cluster.add_node()
        cluster.add_node()
        yield cluster
    finally:
        cluster.remove()
