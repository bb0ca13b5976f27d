# SPDX-License-Identifier: Apache-2.0
"""The peer of `benchmarks.overhead`: the same trainer on the same spec under torchrun, with nothing of Ray.

``torchrun --nproc-per-node 2 -m benchmarks.plain_torchrun SPEC`` prints one line a logged step: number and time.
"""

from __future__ import annotations

import os
import sys
import time

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from training.config import load_spec
from training.trainers import create_trainer


class PrintTimes(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in (logs or {}) and dist.get_rank() == 0:
            print(f"step {state.global_step} {time.time():.4f}", flush=True)


def main() -> None:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    spec = load_spec(sys.argv[1])
    trainer = create_trainer(spec.method, spec.config)
    trainer.add_callback(PrintTimes())
    trainer.train()
    dist.barrier()
    sys.stdout.flush()
    # in torch 2.13 gloo's destructor, which holds the GIL, may wait for a thread that waits for the GIL
    os._exit(0)


if __name__ == "__main__":
    main()
