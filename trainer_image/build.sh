#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build the image; `make image` runs this. Settings come from the environment, and none is needed:
#
#   IMAGE          name of the result [tadrib:dev]
#   DEVICE         cuda or cpu, what torch is built for [cuda]
#   BASE_IMAGE     a Debian or Ubuntu with Python 3.11 or 3.12 [the Dockerfile's]; a release wants NAME@sha256:DIGEST
#   SBOM           where the image's bill of materials goes [build/sbom.cdx.json]
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
base=${BASE_IMAGE:-$(sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile)}
if [[ $base == *@sha256:* ]]; then
    BASE_DIGEST=${base##*@}
elif [[ $(git describe --exact-match --tags 2> /dev/null) == v* ]]; then
    echo "this is a release, and $base may be another image tomorrow. Give its digest: BASE_IMAGE=$base@sha256:…" >&2
    exit 2
else # one that was made here, by debian_base.sh for instance, has no digest of a registry, but an id
    BASE_DIGEST=$("$docker" image inspect --format '{{.Id}}' "$base" 2> /dev/null || true)
    echo "the base $base has no digest; ${BASE_DIGEST:-its id, which is not known here,} is recorded in the image" >&2
fi
export VERSION REVISION BASE_DIGEST DOCKER_BUILDKIT=1

image=${IMAGE:-tadrib:dev}
options=(--tag "$image")
for name in VERSION REVISION BASE_IMAGE BASE_DIGEST DEVICE PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX; do
    if [[ -n ${!name:-} ]]; then options+=(--build-arg "$name"); fi # its value is read from the environment
done
if [[ -n ${PIP_CONF:-} ]]; then options+=(--secret "id=pip,src=$PIP_CONF"); fi
if [[ -n ${CERTIFICATES:-} ]]; then options+=(--secret "id=certificates,src=$CERTIFICATES"); fi
if [[ -n ${BUILD_NETWORK:-} ]]; then options+=(--network "$BUILD_NETWORK"); fi
"$docker" build "${options[@]}" .

sbom=${SBOM:-build/sbom.cdx.json}
mkdir -p "$(dirname "$sbom")"
"$docker" run --rm --network none --entrypoint cat "$image" /opt/tadrib/share/tadrib/sbom.cdx.json > "$sbom"
echo "built $image; its bill of materials is in $sbom"
