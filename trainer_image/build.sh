#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build the image; `make image` runs this. Settings come from the environment, and none is needed:
#
#   IMAGE          name of the result [tadrib:dev]
#   DEVICE         cuda or cpu, what torch is built for [cuda]
#   BASE_IMAGE     a Debian or Ubuntu with Python 3.11 or 3.12 [the Dockerfile's]
#   PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_NO_INDEX    as pip knows them
#   PIP_CONF       a pip.conf, for whatever else; it may hold passwords
#   CERTIFICATES   a file of certificates to trust, for a mirror with one of its own
#   BUILD_NETWORK  network of the build, such as host
#   DOCKER         the program [docker]
set -euo pipefail
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}
"$docker" version > /dev/null 2>&1 || {
    echo "$docker does not answer: is it installed, does its daemon run, may you use it? ($docker version)" >&2
    exit 2
}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION=$(git describe --always --abbrev=40 --dirty 2> /dev/null || echo unknown)
export VERSION REVISION DOCKER_BUILDKIT=1

options=(--tag "${IMAGE:-tadrib:dev}")
for name in VERSION REVISION BASE_IMAGE DEVICE PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX; do
    if [[ -n ${!name:-} ]]; then options+=(--build-arg "$name"); fi # its value is read from the environment
done
if [[ -n ${PIP_CONF:-} ]]; then options+=(--secret "id=pip,src=$PIP_CONF"); fi
if [[ -n ${CERTIFICATES:-} ]]; then options+=(--secret "id=certificates,src=$CERTIFICATES"); fi
if [[ -n ${BUILD_NETWORK:-} ]]; then options+=(--network "$BUILD_NETWORK"); fi
exec "$docker" build "${options[@]}" .
