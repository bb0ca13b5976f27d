# SPDX-License-Identifier: Apache-2.0
"""Precompute reference log-probs: fill them in from the cache, and score once what it lacks."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from transformers import PreTrainedModel

from tadrib.training.config import CommonConfig
from tadrib.training.data.group import Group
from tadrib.training.data.group_dataset import GroupDataset
from tadrib.training.engine.collate import collate
from tadrib.training.engine.reference_scorer import ReferenceScorer, frozen_reference
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
"""Tokens scored per shard: at most this much is lost when a job is killed."""


class ScoreRequest(NamedTuple):
    """A dataset, and the indices (``members``) of the groups whose scores will be used."""

    groups: GroupDataset
    members: Sequence[int] | np.ndarray


def with_precomputed_scores(
    requests: Sequence[ScoreRequest], config: CommonConfig, location: str, source: ModelSource
) -> list[GroupDataset]:
    """The datasets with all requested scores filled in, and any others that are cached; other groups have none.

    ``source`` is the reference model, ``location`` the cache's path or URL. Collective: each worker scores a share of
    what is missing.
    """
    cache = ReferenceCache(location, _fingerprint(config, source))
    missing = _missing(requests, cache)
    if missing:
        logger.info("scoring %d groups with the reference model, once", len(missing))
        enter(Phase("loading the reference model"))
        model = load_reference_model(config, source)
        reference = frozen_reference(model, probes(*(groups for groups, _ in requests)))
        _score_share(reference, model, missing, cache, config.per_device_eval_batch_size)
    if dist.is_initialized():
        dist.barrier()
    scores = cache.read()
    return [groups.with_reference([scores.get(group_key(g), []) for g in groups]) for groups, _ in requests]


def _missing(requests: Sequence[ScoreRequest], cache: ReferenceCache) -> dict[bytes, Group]:
    """Wanted groups that some worker finds no score for, by key, in the same order on every worker."""
    known = cache.read()
    used = {group_key(group): group for groups, members in requests for group in groups.select(members)}
    is_missing = torch.tensor([key not in known for key in used], dtype=torch.uint8, device=local_device())
    if dist.is_initialized():
        # also a barrier: no worker writes a shard before all have read the cache
        dist.all_reduce(is_missing, dist.ReduceOp.MAX)
    return {key: used[key] for key, lacks in zip(used, is_missing.tolist(), strict=True) if lacks}


def _score_share(
    reference: ReferenceScorer,
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
    _report(0, len(places), began)
    for start in range(0, share, batch_groups):
        part = mine[start : start + batch_groups]
        # with ZeRO-3, a worker that has nothing left still has to join the weight gathering
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
        _report((start + batch_groups) * workers, len(places), began)


def _report(done: int, planned: int, began: float) -> None:
    """Report progress. Workers proceed at the same pace, so one worker's share stands for all."""
    seconds = time.monotonic() - began
    enter(Phase("scoring with the reference model", min(done, planned), planned, "groups", seconds))


def _fingerprint(config: CommonConfig, source: ModelSource) -> str:
    """A digest of everything that determines the reference's log-probs: its files, dtype, quantization and the versions
    of the libraries. For an adapter also its base model, and whether it is merged."""
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
    """Identifies a full model's files; for a Hub model, by its commit."""
    if source.folder is not None:
        return model_fingerprint(source.folder)
    from transformers import AutoConfig

    return f"{source.name}@{AutoConfig.from_pretrained(source.name, **source.options)._commit_hash}"
