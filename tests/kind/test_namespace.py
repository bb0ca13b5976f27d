# SPDX-License-Identifier: Apache-2.0
"""The namespace of runs guards itself, as manifests/base makes it."""

from __future__ import annotations

import pytest

from tests.kind.settings import IMAGE, NAMESPACE, OWN

pytestmark = pytest.mark.cluster


def test_a_pod_that_is_not_restricted_is_refused(cluster):
    said = cluster.kubectl("run", f"{OWN}-bare", f"--image={IMAGE}", "--dry-run=server", check=False)
    assert 'violates PodSecurity "restricted' in said


def test_what_no_policy_allows_is_denied(cluster):
    specs = [policy["spec"] for policy in cluster.objects("networkpolicies")]
    for way in ("Ingress", "Egress"):
        closed = [each for each in specs if each["podSelector"] == {} and way in each["policyTypes"]]
        assert any(not each.get(way.lower()) for each in closed), f"{way} is open in {NAMESPACE}"
