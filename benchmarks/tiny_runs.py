# SPDX-License-Identifier: Apache-2.0
"""Tiny runs: what `benchmarks.overhead` and `benchmarks.goodput` train, and how they are started."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

STEPS, LOGGED, SAVED = 200, 10, 50
ROWS = Path(__file__).parent.parent / "examples" / "data" / "sft_train.jsonl"
TRAIN = [str(Path(sys.executable).parent / "tadrib"), "train"]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ADDRESS": "local",
    "TQDM_DISABLE": "1",  # our workers draw no bar either
    # torchrun's workers would find the addresses of those before them: github.com/pytorch/pytorch/issues/135712
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}


@dataclass(frozen=True, slots=True)
class TinyRuns:
    """Specs that share a model, a number of workers and a folder to run in."""

    folder: Path
    model: Path
    workers: int

    def spec(
        self,
        name: str,
        *,
        storage: str = "",
        steps: int = STEPS,
        save_steps: int = SAVED,
        logging_steps: int = LOGGED,
        max_failures: int = 0,
    ) -> Path:
        """Write and return the spec file of the run ``name``."""
        settings = {
            "method": "sft",
            "name": name,
            "model_name": str(self.model),
            "dataset_path": str(ROWS),
            "storage_path": storage or str(self.folder / "runs"),
            "max_seq_length": 256,
            "torch_dtype": "float32",
            "gradient_checkpointing": False,
            "use_lora": False,
            "per_device_train_batch_size": 2,
            "max_steps": steps,
            "logging_steps": logging_steps,
            "save_steps": save_steps,
            "max_failures": max_failures,
            "resources": {"num_workers": self.workers},
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(settings), encoding="utf-8")
        return path
