# SPDX-License-Identifier: Apache-2.0
"""Resolve requirements.in into requirements.lock for Python 3.11 and 3.12 on every platform.

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


def main() -> None:
    left_out = [word for name in BROUGHT_BY_TORCH for word in ("--no-emit-package", name)]
    target = FOLDER / "requirements.lock"
    options = [
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
        "--no-annotate",
        "--no-header",
        *left_out,
    ]
    files = ["--output-file", str(target), str(FOLDER / "requirements.in")]
    subprocess.run([sys.executable, "-m", "uv", "pip", "compile", *options, *files], check=True)
    pins = target.read_text()
    target.write_text("# Written by `make lock` from requirements.in; do not edit.\n" + pins)


if __name__ == "__main__":
    main()
