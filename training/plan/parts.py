# SPDX-License-Identifier: Apache-2.0
"""The memory of one worker's device, part by part.

Bytes a weight: 2 in 16 bits, 4 in float32; 0.516 in NF4 with double quantization (QLoRA, arXiv 2305.14314, section 3),
for linear layers but the head. DeepSpeed's shards are those of its own estimators.
"""

from __future__ import annotations

from dataclasses import dataclass

from tadrib.training.config import CommonConfig
from tadrib.training.config.methods import PreferenceConfig, ReferencedConfig
from tadrib.training.config.strategy import offloads, read_settings, zero_stage
from tadrib.training.plan.shape import Shape

GIB = 1024**3
_NF4, _INT8 = 0.5 + 1 / 64 + 4 / (64 * 256), 1.0
_LOGIT_ON_GPU, _LOGIT_ON_CPU = 14, 8
"""Bytes of a logit while a chunk of the head is scored: in 16 bits, float32 and again, or in float32 twice."""
_FIXED = 1.5 * GIB
_STATES = {"adamw": 8, "ademamix": 12, "lion": 4, "rmsprop": 4, "adagrad": 4, "sgd": 0}
"""Bytes of an optimizer's float32 states for each trained weight."""


@dataclass(frozen=True, slots=True)
class Part:
    """``bytes`` on one worker's device (``host``: in its main memory), and in words what they follow from."""

    name: str
    bytes: float
    why: str
    host: bool = False


def parts_of(config: CommonConfig, shape: Shape, workers: int, *, on_gpu: bool) -> list[Part]:
    """Every part, largest micro-batch included. What is assumed and not computed says so."""
    settings = read_settings(config.strategy, config.deepspeed) or {}
    stage, share = zero_stage(settings), max(workers, 1)
    trained = shape.adapters(config) if config.use_lora else shape.parameters
    half = config.torch_dtype != "float32" and on_gpu
    masters = config.use_lora or not (half and config.uses_deepspeed)
    size = 2 if half and (config.use_lora or config.uses_deepspeed) else 4
    weights = _weights(config, shape, size) / (share if stage == 3 else 1)
    kept = 4 if masters else 2  # of a trained weight and its gradient
    state = _state_bytes(config.optim) + (0 if masters else 4)
    sharded = share if stage else 1
    on_host, weights_on_host = offloads(settings, "optimizer"), offloads(settings, "param")
    found = [
        Part("weights", weights, f"{shape.parameters:,} weights, {_kind(config, size)}", weights_on_host),
        Part("optimizer", trained * state / sharded, f"{config.optim}, {state:.3g} bytes a weight", on_host),
        Part(
            "gradients",
            trained * kept / (share if stage >= 2 else 1),
            f"{trained:,} trained weights",
            on_host and stage >= 2,
        ),
    ]
    if config.use_lora:
        found.insert(1, Part("adapters", trained * 4, f"rank {config.lora_r}, float32"))
    if workers > 1 and stage == 0:
        found.append(Part("gradient buckets", trained * kept, "DDP's copy for the exchange"))
    if stage == 3:
        largest = max(shape.vocabulary * shape.hidden, shape.in_blocks // shape.layers + shape.extra)
        found.append(Part("one layer", 2 * size * largest, "its weights and gradients while it computes"))
    if isinstance(config, ReferencedConfig) and config.reference in ("copy", "model"):
        found.append(
            Part("reference", _weights(config, shape, 2 if half else 4), f"reference: {config.reference}")
        )
    tokens = largest_micro_batch(config)
    found += [
        _activations(config, shape, tokens, 2 if half else 4, on_gpu),
        Part(
            "head",
            _head(config, shape, tokens, on_gpu),
            "one chunk of logits, and the gradient of hidden states",
        ),
    ]
    if on_gpu:
        found.append(Part("fixed", _FIXED, "CUDA, NCCL and kernels' workspaces: assumed"))
    return found


def largest_micro_batch(config: CommonConfig) -> int:
    """Tokens of the largest micro-batch that the settings allow; real rows are often shorter."""
    rows = config.per_device_train_batch_size
    if not isinstance(config, PreferenceConfig):
        return rows * config.max_seq_length
    if config.max_tokens_per_batch is not None:
        return config.max_tokens_per_batch
    answers = 1 if config.method == "kto" else 2  # a prompt is computed once, before both answers
    return rows * (config.max_length + (answers - 1) * (config.max_length - 1))


def token_bytes(config: CommonConfig, shape: Shape, size: int, *, on_gpu: bool) -> float:
    """Bytes that one block keeps of a token for the backward pass on the packed path, at ``size`` bytes a number.

    Both norms keep their input and its scale in float32, the gated MLP three numbers of its size, attention q, k, v,
    its output and a float32 for each head. A trained layer keeps its input, and an adapter what is between its factors;
    with dropout each adapter has a copy of its input, and a mask of the same size (a byte on a GPU).
    """
    h, q, keys = shape.hidden, shape.heads * shape.head_size, shape.key_heads * shape.head_size
    kept = 2 * (4 * h + 4) + size * (3 * shape.inner + 2 * q + 2 * keys) + 4 * shape.heads
    # layers that read the same keep it once; what o_proj reads is attention's own output, which a CPU copies
    reads = {"qkv": h, "mlp": h, "down_proj": shape.inner, "o_proj": 0 if on_gpu else q}
    if not config.use_lora:
        return kept + size * (2 * h + sum(reads.values()))  # norms keep what they scale
    adapted = shape.adapted(config)
    kept += size * sum(config.rank_pattern.get(name, config.lora_r) for name in adapted)
    if config.lora_dropout:
        return kept + (size + (1 if on_gpu else size)) * sum(shape.linear[name][0] for name in adapted)
    return kept + size * sum(reads[read] for read in {_read_by(name) for name in adapted})


def _read_by(layer: str) -> str:
    groups = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "mlp", "up_proj": "mlp"}
    return groups.get(layer, layer)


def _activations(config: CommonConfig, shape: Shape, tokens: int, size: int, on_gpu: bool) -> Part:
    each = tokens * token_bytes(config, shape, size, on_gpu=on_gpu)
    if config.use_lora and size == 2:
        each += 2 * shape.adapters(config) / shape.layers  # adapters' weights in 16 bits
    if not config.gradient_checkpointing:
        return Part("activations", shape.layers * each, f"{tokens:,} tokens, all layers kept")
    kept = tokens * shape.layers * shape.hidden * size + each
    return Part("activations", kept, f"{tokens:,} tokens, one layer at a time (gradient_checkpointing)")


def _head(config: CommonConfig, shape: Shape, tokens: int, on_gpu: bool) -> float:
    chunk = min(tokens, 2048) if on_gpu else min(tokens, max(16, 2**24 // shape.vocabulary))
    trained = 0 if config.use_lora else 4 * shape.vocabulary * shape.hidden
    logit = _LOGIT_ON_GPU if on_gpu else _LOGIT_ON_CPU
    return chunk * shape.vocabulary * logit + tokens * shape.hidden * 4 + trained


def _weights(config: CommonConfig, shape: Shape, size: int) -> float:
    inside = _NF4 if config.load_in_4bit else _INT8 if config.load_in_8bit else size
    return shape.in_blocks * inside + (shape.parameters - shape.in_blocks) * size


def _kind(config: CommonConfig, size: int) -> str:
    if config.load_in_4bit or config.load_in_8bit:
        return f"{4 if config.load_in_4bit else 8} bits in blocks, else {8 * size}"
    return f"{8 * size} bits"


def _state_bytes(optim: str) -> float:
    name = optim.removeprefix("paged_")
    states = next((size for kind, size in _STATES.items() if name.startswith(kind)), 0)
    return states / 4 * (1 + 4 / 256) if "8bit" in name else float(states)
