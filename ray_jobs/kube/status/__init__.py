# SPDX-License-Identifier: Apache-2.0
"""How a run is doing on Kubernetes, from what the cluster has on record."""
