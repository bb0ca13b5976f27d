# SPDX-License-Identifier: Apache-2.0
"""Smoke check of the image, run at the end of its build: what is installed is what the locks and
the bill of materials say, it trains, and it
needs no root, no compiler, no network, and no place to write but the declared ones.

`--quick` checks user, paths and versions alone, in a second: a health check.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from packaging.requirements import Requirement

HERE = Path(__file__).parent
SBOM = "sbom.cdx.json"
WEIGHTS = "model.safetensors"
WRITABLE = ("HOME", "TMPDIR", "RAY_TMPDIR", "TADRIB_SCRATCH", "HF_HOME", "MPLCONFIGDIR")
MODULES = (
    *(
        "torch",
        "transformers",
        "trl",
        "peft",
        "accelerate",
        "bitsandbytes",
        "deepspeed",
        "datasets",
        "pyarrow",
    ),
    *(
        "ray.train",
        "ray.job_submission",
        "kubernetes",
        "matplotlib.pyplot",
        "tensorboard",
        "tadrib.ray_jobs.cli.app",
    ),
)


class Unfit(Exception):
    """The image is not what it has to be."""


def check_user() -> str:
    if os.getuid() == 0:
        raise Unfit("the user is root; run the image as it is, or as another user with a number above 0")
    if os.access(sys.prefix, os.W_OK):
        raise Unfit(f"{sys.prefix}, where the code is, can be written by user {os.getuid()}")
    return f"{os.getuid()}:{os.getgid()}, who cannot write the code"


def check_paths() -> str:
    for name in WRITABLE:
        place = os.environ.get(name)
        if not place:
            raise Unfit(f"{name} is not set")
        try:
            Path(place).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"written")
        except OSError as error:
            raise Unfit(
                f"{name}: {place} cannot be written ({error.strerror}); mount a volume there"
            ) from None
    return ", ".join(sorted({os.environ[name] for name in WRITABLE}))


def check_versions() -> str:
    """Everything in the lock is here in its version, and nothing else is but what torch brings for CUDA, as locked."""
    from packaging.utils import canonicalize_name

    found = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    needed, cuda = pins("runtime.lock"), pins("cuda.lock")
    wrong = [f"{name} is missing" for name in needed.keys() - found.keys()]
    for name, version in found.items():
        pin = needed.get(name) or cuda.get(name)
        if pin is None and name != "tadrib":
            wrong.append(f"{name} {version} is not locked")
        elif pin is not None and not pin.specifier.contains(version, prereleases=True):
            wrong.append(f"{name} {version} is here, {pin} is locked")
    if wrong:
        raise Unfit("; ".join(sorted(wrong)))
    return f"{len(found)} packages, as locked"


def pins(file: str) -> dict[str, Requirement]:
    """What a lock holds for this Python and platform, by name."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (HERE / file).read_text().replace("\\\n", "").splitlines()  # a pin, then the hashes of its files
    found = [Requirement(line.partition(" --hash")[0]) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found if pin.marker is None or pin.marker.evaluate()}


def check_sbom() -> str:
    """The bill of materials (CycloneDX) lists what is here, in its version, and nothing else."""
    from packaging.utils import canonicalize_name

    listed = json.loads((HERE / SBOM).read_text())
    components = [*listed["components"], listed["metadata"]["component"]]
    said = {canonicalize_name(each["name"]): each["version"] for each in components}
    here = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    wrong = sorted(name for name in said.keys() | here.keys() if said.get(name) != here.get(name))
    if listed["bomFormat"] != "CycloneDX" or wrong:
        raise Unfit(f"{SBOM} is not of what is installed: {', '.join(wrong) or listed['bomFormat']}")
    return f"{len(said)} packages in {SBOM}, CycloneDX {listed['specVersion']}"


def check_imports() -> str:
    for name in MODULES:
        importlib.import_module(name)
    return f"{len(MODULES)} modules"


def check_device(device: str) -> str:
    import torch

    cuda = torch.version.cuda
    if (cuda is not None) != (device == "cuda"):
        raise Unfit(f"torch {torch.__version__} is no build for {device}; see docs/image.md, 'CPU or CUDA'")
    if cuda and torch.cuda.is_available():
        return f"CUDA {cuda}, {torch.cuda.get_device_name()}"
    return f"CUDA {cuda}, no GPU here" if cuda else "CPU"


def check_training(strategy: Literal["ddp", "zero2"]) -> str:
    """One optimizer step of a tiny model, whose loss must be sound and whose saved weights must have changed."""
    from tadrib.training.config import SFTConfig
    from tadrib.training.sft_trainer import create_sft_trainer
    from tadrib.training.tiny.model import build_tiny_model

    rows = [{"instruction": f"كم مجموع {n} و{n}؟", "response": str(2 * n)} for n in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "rows.jsonl")
        data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        model = build_tiny_model(Path(folder, "model"), texts=[data])
        config = SFTConfig(
            model_name=str(model),
            dataset_path=str(data),
            output_dir=str(Path(folder, "out")),
            strategy=strategy,
            max_steps=1,
            warmup_ratio=0.0,
            use_lora=False,
            torch_dtype="float32",
            gradient_checkpointing=False,
            evaluation_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
        )
        trainer = create_sft_trainer(config)
        loss = trainer.train()["train_loss"]
        before, after = model / WEIGHTS, trainer.save_model() / WEIGHTS
        changed = after.is_file() and before.read_bytes() != after.read_bytes()
    if not 0 < loss < 100 or not changed:
        raise Unfit(f"a step of {strategy}: loss {loss}, weights {'changed' if changed else 'not changed'}")
    return f"a step of {strategy}, loss {loss:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="user, paths and versions alone")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda", help="what torch has to be built for"
    )
    arguments = parser.parse_args()
    checks: list[tuple[str, Callable[[], str]]] = [
        ("user", check_user),
        ("writable", check_paths),
        ("versions", check_versions),
        ("sbom", check_sbom),
    ]
    if not arguments.quick:
        os.environ["PATH"] = f"{sys.prefix}/bin"  # no compiler, even where the base image has one
        os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TQDM_DISABLE="1")
        checks += [("imports", check_imports), ("device", lambda: check_device(arguments.device))]
        checks += [("ddp", lambda: check_training("ddp")), ("zero2", lambda: check_training("zero2"))]
    for name, check in checks:
        try:
            print(f"ok    {name}: {check()}", flush=True)
        except Exception as error:
            kind = "" if isinstance(error, Unfit) else f"{type(error).__name__}: "
            print(f"UNFIT {name}: {kind}{error}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
