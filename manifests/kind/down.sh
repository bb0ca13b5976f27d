#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Delete the kind cluster, with its runs; `make kind-down` runs this. No other cluster is touched.
set -euo pipefail
kind=${KIND:-kind}
command -v "$kind" > /dev/null || {
    echo "Please install kind (https://kind.sigs.k8s.io), or name it: KIND=/path/to/kind." >&2
    exit 2
}
exec "$kind" delete cluster --name tadrib
