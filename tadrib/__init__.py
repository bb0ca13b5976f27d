# SPDX-License-Identifier: Apache-2.0
"""tadrib: fine-tune language models on Kubernetes, from one YAML spec.

`tadrib.training` is the library, and needs neither Ray nor a cluster; `tadrib.ray_jobs` runs it, here, on a Ray cluster
or on Kubernetes. Both are folders at the top of the repository, which this package links to.
"""
