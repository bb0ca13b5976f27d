# SPDX-License-Identifier: Apache-2.0
"""Write weights as safetensors shards with an index, from blocks of rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tadrib.training.model.weight_files.source_weights import INDEX
from tadrib.training.model.weight_files.tensor_file import header_of, raw_bytes, total_bytes

SHARD_BYTES = 5 * 10**9
Kind = tuple[torch.dtype, tuple[int, ...]]
"""Dtype and shape of a tensor."""


def write_shards(
    folder: Path,
    tensors: Mapping[str, Kind],
    blocks_of: Callable[[str], Iterable[Tensor]],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write ``tensors`` to ``model.safetensors``, or to shards of at most ``shard_bytes`` (a larger tensor has one of
    its own) and their index. ``blocks_of`` gives the rows of a tensor in its dtype, and is called once for each.
    """
    shards = list(_shards(tensors, shard_bytes))
    placed = {}
    for number, shard in enumerate(shards, start=1):
        file = (
            "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        )
        placed.update(dict.fromkeys(shard, file))
        _write(folder / file, shard, blocks_of)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total_bytes(tensors.values())}, "weight_map": placed}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write(file: Path, shard: Mapping[str, Kind], blocks_of: Callable[[str], Iterable[Tensor]]) -> None:
    with file.open("wb") as target:
        target.write(header_of(shard))
        for name, kind in shard.items():
            written = sum(target.write(raw_bytes(block)) for block in blocks_of(name))
            assert written == total_bytes([kind]), name


def _shards(tensors: Mapping[str, Kind], shard_bytes: int) -> Iterator[dict[str, Kind]]:
    shard: dict[str, Kind] = {}
    for name, kind in tensors.items():
        if shard and total_bytes([*shard.values(), kind]) > shard_bytes:
            yield _aligned(shard)
            shard = {}
        shard[name] = kind
    yield _aligned(shard)


def _aligned(shard: dict[str, Kind]) -> dict[str, Kind]:
    """Wider dtypes first, so that every tensor begins at a multiple of its element's size."""
    return dict(sorted(shard.items(), key=lambda item: -item[1][0].itemsize))
