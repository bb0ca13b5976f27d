# SPDX-License-Identifier: Apache-2.0
"""Resolve requirements.in for Python 3.11 and 3.12 on every platform: into requirements.lock, and, without its
section of development, into runtime.lock, which the image installs. What is in both has the same version in both.
build.lock is what source distributions are built with, and has to be there first; sbom.lock is what lists the image's
packages and stays out of it. Each pin has the SHA-256 of every file that may be installed for it.

The packages that torch needs where it is built for CUDA stay out, as a CPU build needs none. They are in cuda.lock,
which holds the image's CUDA build to them: torch pins most of them itself, but not all.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).parent
BROUGHT_BY_TORCH = [
    "triton",
    *(f"cuda-{name}" for name in ("bindings", "pathfinder", "toolkit")),
    *(
        f"nvidia-{name}"
        for name in (
            "cublas",
            "cuda-cupti",
            "cuda-nvrtc",
            "cuda-runtime",
            "cudnn-cu13",
            "cufft",
            "cufile",
            "curand",
            "cusolver",
            "cusparse",
            "cusparselt-cu13",
            "nccl-cu13",
            "nvjitlink",
            "nvshmem-cu13",
            "nvtx",
        )
    ),
]

DEVELOPMENT = "# development\n"  # where that section of requirements.in starts
TOOLS = {"build": "setuptools", "sbom": "cyclonedx-bom"}
HEADER = "# Written by `make lock` from requirements.in; do not edit.\n"
OPTIONS = [
    *("--quiet", "--universal", "--python-version", "3.11", "--no-annotate", "--no-header"),
    *("--generate-hashes", "--allow-unsafe"),
]


def main() -> None:
    everything = (FOLDER / "requirements.in").read_text()
    whole, runtime, cuda = (FOLDER / f"{name}.lock" for name in ("requirements", "runtime", "cuda"))
    left_out = [word for name in BROUGHT_BY_TORCH for word in ("--no-emit-package", name)]
    resolve(everything, whole, *left_out)
    needed, _, _ = everything.partition(DEVELOPMENT)
    resolve(needed, runtime, *left_out, "--constraint", str(whole))
    for name, package in TOOLS.items():
        resolve(package, FOLDER / f"{name}.lock", "--constraint", str(whole))
    with TemporaryDirectory() as folder:
        both = Path(folder, "both.lock")
        resolve(needed, both, "--constraint", str(whole))
        brought = [pin for pin in pins(both.read_text()) if pin.split("==")[0] in BROUGHT_BY_TORCH]
    cuda.write_text(HEADER + "".join(brought))


def resolve(requirements: str, target: Path, *options: str) -> None:
    """Write the pins of ``requirements`` to ``target``; pins that are there already stay where they can."""
    command = ["uv", "pip", "compile", *OPTIONS, *options, "--output-file", str(target), "-"]
    subprocess.run([sys.executable, "-m", *command], input=requirements, text=True, check=True)
    target.write_text(HEADER + "".join(with_torch_for_cpus(pin) for pin in pins(target.read_text())))


def pins(text: str) -> list[str]:
    """The pins of a lock, each with the lines of its hashes."""
    return re.findall(r"^[a-z0-9].*\n(?:[ ].*\n)*", text, re.MULTILINE)


def with_torch_for_cpus(pin: str) -> str:
    """A pin of torch with the hashes of PyTorch's builds without CUDA as well, which the package index does not have
    and which satisfy it; every other pin as it is."""
    version = pin.split()[0].replace("==", "-")
    listed = [line.split() for line in (FOLDER / "torch_for_cpus.sha256").read_text().splitlines()]
    more = [sha for sha, wheel in listed if wheel.startswith(f"{version}+") and sha not in pin]
    return pin.rstrip("\n") + "".join(f" \\\n    --hash=sha256:{sha}" for sha in more) + "\n"


if __name__ == "__main__":
    main()
