# SPDX-License-Identifier: Apache-2.0
"""Groups with the reference's log-probs filled in, from the cache and, where it lacks them, by scoring them once."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from transformers import PreTrainedModel

from tadrib.training.config import CommonConfig
from tadrib.training.data.group import Group, GroupDataset
from tadrib.training.engine.collate import collate
from tadrib.training.engine.reference_scores import Reference, frozen
from tadrib.training.engine.self_check import probes
from tadrib.training.model.adapter_folder import adapter_of, base_of
from tadrib.training.model.fingerprint import model_fingerprint
from tadrib.training.model.hardware import local_device
from tadrib.training.model.source import ModelSource
from tadrib.training.phases import Phase, enter
from tadrib.training.reference.cache import ReferenceCache, group_key
from tadrib.training.reference.model import load_reference_model
from tadrib.training.run.versions import versions

logger = logging.getLogger("tadrib")

SHARD_TOKENS = 200_000
"""Tokens scored between two shards: what a killed job has to compute again."""


class Wanted(NamedTuple):
    """A set of groups, and the numbers of those whose scores will be used."""

    groups: GroupDataset
    members: Sequence[int]


def with_scores(
    wanted: Sequence[Wanted], config: CommonConfig, location: str, source: ModelSource
) -> list[GroupDataset]:
    """The sets with every score that is wanted, or is there anyway, filled in; other groups stay without one.

    ``source`` is the reference model, ``location`` that of the cache. Collective: every worker scores a share of what
    is missing.
    """
    cache = ReferenceCache(location, _fingerprint(config, source))
    missing = _missing(wanted, cache)
    if missing:
        logger.info("scoring %d groups under the reference, once", len(missing))
        enter(Phase("loading the reference model"))
        model = load_reference_model(config, source)
        reference = frozen(model, probes(*(groups for groups, _ in wanted)))
        _score_share(reference, model, missing, cache, config.per_device_eval_batch_size)
    if dist.is_initialized():
        dist.barrier()
    scores = cache.read()
    return [groups.with_reference([scores.get(group_key(g), []) for g in groups]) for groups, _ in wanted]


def _missing(wanted: Sequence[Wanted], cache: ReferenceCache) -> dict[bytes, Group]:
    """Wanted groups that some worker finds no score for, by key, in the same order on every worker."""
    known = cache.read()
    used = {group_key(group): group for groups, members in wanted for group in groups.select(list(members))}
    is_missing = torch.tensor([key not in known for key in used], dtype=torch.uint8, device=local_device())
    if dist.is_initialized():
        # also keeps everybody from writing before all have looked
        dist.all_reduce(is_missing, dist.ReduceOp.MAX)
    return {key: used[key] for key, lacks in zip(used, is_missing.tolist(), strict=True) if lacks}


def _score_share(
    reference: Reference,
    model: PreTrainedModel,
    missing: dict[bytes, Group],
    cache: ReferenceCache,
    batch_groups: int,
) -> None:
    rank, workers = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    places = list(missing.items())
    mine = places[rank::workers]
    share = -(-len(places) // workers)
    keys: list[bytes] = []
    scores: list[list[float]] = []
    tokens, began = 0, time.monotonic()
    _tell(0, len(places), began)
    for start in range(0, share, batch_groups):
        part = mine[start : start + batch_groups]
        # a worker with nothing left still has to take part where the weights are in shards
        members = [group for _, group in part or places[:1]]
        batch = collate(members, path=reference.path or "packed").to(model.device)
        sums = reference.score(model, batch).tolist()
        keys += [key for key, _ in part]
        for group in members[: len(part)]:
            scores.append([sums.pop(0) for _ in group.completions])
        tokens += batch.num_tokens
        if keys and (tokens >= SHARD_TOKENS or start + batch_groups >= share):
            cache.write(keys, scores)
            keys, scores, tokens = [], [], 0
        _tell((start + batch_groups) * workers, len(places), began)


def _tell(done: int, planned: int, began: float) -> None:
    """Workers keep pace with one another, so what one has done says what all have."""
    seconds = time.monotonic() - began
    enter(Phase("scoring under the reference", min(done, planned), planned, "groups", seconds))


def _fingerprint(config: CommonConfig, source: ModelSource) -> str:
    """Of all that decides the reference's log-probs: its files, dtype and quantization, and the libraries' versions; an
    adapter's base model is part of it, and whether it is merged."""
    adapter = adapter_of(source)
    files = (
        _files(source)
        if adapter is None
        else f"{model_fingerprint(adapter.path)} on {_files(base_of(source))}"
    )
    kind = f"{config.torch_dtype} {config.load_in_4bit} {config.load_in_8bit} {adapter is not None and config.use_lora}"
    computed_by = {name: versions().get(name) for name in ("tadrib", "transformers", "bitsandbytes")}
    return hashlib.sha256(f"{files} {kind} {computed_by}".encode()).hexdigest()[:24]


def _files(source: ModelSource) -> str:
    """Of a whole model; a Hub model's files are those of its commit."""
    if source.folder is not None:
        return model_fingerprint(source.folder)
    from transformers import AutoConfig

    return f"{source.name}@{AutoConfig.from_pretrained(source.name, **source.options)._commit_hash}"
