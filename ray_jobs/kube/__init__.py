# SPDX-License-Identifier: Apache-2.0
"""How a run reaches a Kubernetes cluster by Helm and KubeRay, and how it is doing there."""
