# SPDX-License-Identifier: Apache-2.0
"""Runs on Kubernetes: submitted by Helm, executed by KubeRay, followed through the API server."""
