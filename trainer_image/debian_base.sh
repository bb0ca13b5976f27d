#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make a base image of Debian 12 with Python 3.11 from Debian's packages, for a machine that can pull none.
#
#   sudo trainer_image/debian_base.sh [TAG]        # TAG is debian-python:3.11 unless given
#
# DEBIAN_MIRROR names another mirror than Debian's own; DOCKER another program than docker.
set -euo pipefail
tag=${1:-debian-python:3.11}
docker=${DOCKER:-docker}
for program in debootstrap "$docker"; do
    command -v "$program" > /dev/null || { echo "$program is not installed (Debian: apt-get install debootstrap docker.io)" >&2; exit 2; }
done
root=$(mktemp --directory)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,tini bookworm "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/var/log/*.log
tar --create --numeric-owner --directory "$root" . | "$docker" import --change 'CMD ["python3"]' - "$tag"
