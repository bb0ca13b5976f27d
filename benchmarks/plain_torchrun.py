# SPDX-License-Identifier: Apache-2.0
"""The peer of our way to run: the same trainer on the same spec under torchrun, with nothing of Ray.

``torchrun --nproc-per-node 2 -m benchmarks.plain_torchrun SPEC`` prints one line a logged step: number and time.
Checkpoints go beside our run directory; started again, by hand or by ``--max-restarts``, it continues from the last.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tadrib.training.config import load_spec
from tadrib.training.run.checkpoints import newest_whole
from tadrib.training.trainers import create_trainer


class PrintTimes(TrainerCallback):
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if "loss" in (logs or {}) and dist.get_rank() == 0:
            print(f"step {state.global_step} {time.time():.4f}", flush=True)


def main() -> None:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    spec = load_spec(sys.argv[1])
    config = spec.config.model_copy()
    config.output_dir = f"{spec.run_dir}.torchrun"
    trainer = create_trainer(spec.method, config)
    trainer.add_callback(PrintTimes())
    checkpoint = newest_whole(Path(config.output_dir))
    dist.barrier()  # else one could go on from a checkpoint that another has not seen
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    dist.barrier()


if __name__ == "__main__":
    code = 0
    try:
        main()
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    # in torch 2.13 gloo's destructor, which holds the GIL, may wait for a thread that waits for the GIL
    os._exit(code)
