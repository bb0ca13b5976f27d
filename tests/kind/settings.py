# SPDX-License-Identifier: Apache-2.0
"""Settings of the suite, from the environment, and its runs: specs and values of small pods.

IMAGE, NAMESPACE and CLAIM say what to use; POD_CPU, HEAD_MEMORY and WORKER_MEMORY how large the pods of a run are.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

import yaml

from tests.charts.helm import CHARTS

Object = dict[str, Any]

IMAGE = os.environ.get("IMAGE") or "tadrib:dev"
NAMESPACE = os.environ.get("NAMESPACE") or "tadrib"
CLAIM = os.environ.get("CLAIM") or "tadrib"
CPU = float(os.environ.get("POD_CPU") or 1)
HEAD_MEMORY = os.environ.get("HEAD_MEMORY") or "3Gi"
WORKER_MEMORY = os.environ.get("WORKER_MEMORY") or "2Gi"

OWN = f"t{uuid.uuid4().hex[:4]}"
"""What every name that this session makes begins with. Short: KubeRay cuts long names of pods at their front."""
FOLDER = f"cluster-test/{OWN}"
"""On the volume, for model, rows and runs of this session."""
PRESET_STEPS = 6
STEPS, SAVE_STEPS = 400, 20
"""Of a run that something is done to in its middle: seconds of steps on a fast machine, minutes on a slow one."""


def platform(operator_namespace: str = "kuberay-system") -> Object:
    """The platform of charts/training-job/ci/kind-values.yaml with this suite's image, volume and sizes."""
    kind = yaml.safe_load((CHARTS / "training-job" / "ci" / "kind-values.yaml").read_text())["platform"]
    return {
        **kind,
        "image": image(IMAGE),
        "head": {"cpu": f"{CPU:g}", "memory": HEAD_MEMORY},
        "storage": {"claim": CLAIM},
        "networkPolicy": {"operatorNamespace": operator_namespace},
    }


def image(name: str) -> Object:
    """An image's name, as `docker` takes it, in the keys of platform.image."""
    rest, _, digest = name.partition("@")
    repository, _, tag = rest.rpartition(":")
    if not repository or "/" in tag:  # the colon of a registry's port
        repository, tag = rest, "latest"
    return {"repository": repository, "tag": tag, "digest": digest, "pullPolicy": "IfNotPresent"}


def preset_changes(method: str, name: str) -> Object:
    """Jobs on top of the preset of ``method``: its run with the tiny model, a few small steps, and no GPU."""
    length = {"max_seq_length": 256} if method == "sft" else {"max_length": 256, "max_prompt_length": 128}
    spec = {**_common(name, method, workers=1), **length, "max_steps": PRESET_STEPS}
    every_step = {"logging_steps": 1, "eval_steps": 3, "save_steps": 3, "gradient_accumulation_steps": 1}
    return {f"qwen-{method}": {"spec": {**spec, **every_step}}}


def long_spec(name: str, workers: int = 1) -> Object:
    """A run of SFT that leaves time to do something to it after its first checkpoint."""
    return {
        "method": "sft",
        **_common(name, "sft", workers),
        "instruction_template": "tokenizer",
        "use_lora": False,
        "learning_rate": 1e-3,
        "max_seq_length": 128,
        "max_steps": STEPS,
        "save_steps": SAVE_STEPS,
        "logging_steps": 1,
    }


def _common(name: str, method: str, workers: int) -> Object:
    size = {"cpus_per_worker": CPU, "gpus_per_worker": 0, "memory_per_worker": WORKER_MEMORY}
    return {
        "name": name,
        "model_name": f"{FOLDER}/models/tiny",
        "dataset_path": f"{FOLDER}/data/{method}.jsonl",
        "storage_path": f"{FOLDER}/runs",
        "torch_dtype": "float32",
        "gradient_checkpointing": False,
        "resources": {"num_workers": workers, **size},
    }
