# SPDX-License-Identifier: Apache-2.0
"""Extras: the packages of ``tadrib[training]``, ``tadrib[ray]`` and ``tadrib[kubernetes]``, and the error if one is not
installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from tadrib.training.errors import Problem, ResourceError

Extra = Literal["training", "ray", "kubernetes"]
_TRAINING = (
    *(
        "torch",
        "transformers",
        "trl",
        "peft",
        "accelerate",
        "bitsandbytes",
        "deepspeed",
        "datasets",
        "openpyxl",
        "safetensors",
    ),
    *(
        "pyarrow",
        "fsspec",
        "tenacity",
        "matplotlib",
        "jinja2",
        "rensa",
        "tensorboard",
        "psutil",
        "numpy",
        "huggingface_hub",
        "tokenizers",
    ),
)
PACKAGES: dict[Extra, tuple[str, ...]] = {
    "training": _TRAINING,
    "ray": ("ray", "filelock", "requests", "grpc"),
    "kubernetes": ("kubernetes",),
}
"""By import name, including packages that these depend on; the extra ``ray`` includes ``training``."""
_TRIED: dict[Extra, tuple[str, ...]] = {
    "training": ("torch", "transformers"),
    "ray": ("torch", "transformers", "ray"),
    "kubernetes": ("kubernetes",),
}


class MissingExtra(ResourceError, ImportError):
    """Packages of an extra are not installed. Also an ImportError, for programs that can do without them."""


def require(extra: Extra) -> None:
    """Raise MissingExtra unless the main packages of ``extra`` are installed, without importing them."""
    if missing := [name for name in _TRIED[extra] if not _is_installed(name)]:
        raise _missing(missing, extra)


def explained(error: ImportError) -> ImportError:
    """``error`` as MissingExtra if it is about a package of an extra; any other error unchanged."""
    name = (error.name or "").partition(".")[0]
    for extra, packages in PACKAGES.items():
        if isinstance(error, ModuleNotFoundError) and name in packages:
            return _missing([name], extra)
    return error


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _missing(names: list[str], extra: Extra) -> MissingExtra:
    kind = f"Python package{'s' if len(names) > 1 else ''} not installed"
    message = f"{'are' if len(names) > 1 else 'is'} not installed."
    return MissingExtra(
        kind, [Problem(", ".join(names), message, f"Install it with: pip install 'tadrib[{extra}]'")]
    )
