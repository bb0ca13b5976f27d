# SPDX-License-Identifier: Apache-2.0
"""Resolve requirements.in for Python 3.11 and 3.12 on every platform: into requirements.lock, and, without its
section of development, into runtime.lock, which the image installs. What is in both has the same version in both.

torch's own CUDA packages stay out: each torch build pins exactly the ones it needs, and a CPU build needs none.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
OPTIONS = ["--quiet", "--universal", "--python-version", "3.11", "--no-annotate", "--no-header"]


def main() -> None:
    everything = (FOLDER / "requirements.in").read_text()
    resolve(everything, FOLDER / "requirements.lock")
    runtime, _, _ = everything.partition(DEVELOPMENT)
    resolve(runtime, FOLDER / "runtime.lock", "--constraint", str(FOLDER / "requirements.lock"))


def resolve(requirements: str, target: Path, *options: str) -> None:
    """Write the pins of ``requirements`` to ``target``; pins that are there already stay where they can."""
    left_out = [word for name in BROUGHT_BY_TORCH for word in ("--no-emit-package", name)]
    command = ["uv", "pip", "compile", *OPTIONS, *left_out, *options, "--output-file", str(target), "-"]
    subprocess.run([sys.executable, "-m", *command], input=requirements, text=True, check=True)
    pins = target.read_text()
    target.write_text("# Written by `make lock` from requirements.in; do not edit.\n" + pins)


if __name__ == "__main__":
    main()
