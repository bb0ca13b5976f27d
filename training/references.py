# SPDX-License-Identifier: Apache-2.0
"""Where a run's reference log-probs come from, by ``reference``: adapters off, a frozen model, or the cache."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from transformers import PreTrainedModel

from training.adapter_folder import adapter_of, base_of
from training.config import CommonConfig
from training.data.group import GroupDataset
from training.data.prepare import PreparedData
from training.engine.collate import collate
from training.engine.reference import ADAPTERS_OFF, Reference, frozen
from training.engine.reference_cache import ReferenceCache, group_key, model_fingerprint
from training.engine.self_check import probes
from training.hardware import local_device
from training.model_source import ModelSource
from training.reference_model import load_reference_model
from training.versions import versions

if TYPE_CHECKING:
    from training.preference_trainer import PreferenceTrainer

logger = logging.getLogger("tadrib")

SHARD_TOKENS = 200_000
"""Tokens scored between two shards: what a killed job has to compute again."""


def setup_reference(trainer: PreferenceTrainer, data: PreparedData) -> tuple[Reference | None, PreparedData]:
    """The scorer of the trainer's reference, or data with the scores filled in; neither for methods without one.

    Collective: with a cache, every worker scores a share of what is missing.
    """
    choice = choose_reference(trainer.config)
    if choice is None:
        return None, data
    trainer.ready_strategy()
    logger.info("reference: %s", choice)
    if choice == "adapter_off":
        trainer.ready_model()
        return ADAPTERS_OFF, data
    if choice == "cache":
        return None, _with_cached_scores(trainer, data)
    model = load_reference_model(trainer.config, _source(trainer))
    return frozen(model, probes(data.train, data.eval)), data


def choose_reference(config: CommonConfig) -> str | None:
    """What ``reference: auto`` means here, the choice itself otherwise; None for a method without a reference.

    With adapters and one epoch, switching them off costs a forward a row and no memory. Over several epochs the cache
    costs that forward once; and with full weights it spares the second model.
    """
    choice = getattr(config, "reference", None)
    own_model = getattr(config, "ref_model_name", None)
    if choice == "auto":
        one_pass = config.num_train_epochs <= 1 and config.max_steps < 0
        return "adapter_off" if config.use_lora and one_pass and own_model is None else "cache"
    return choice


def _with_cached_scores(trainer: PreferenceTrainer, data: PreparedData) -> PreparedData:
    config = trainer.config
    source = _source(trainer)
    cache = ReferenceCache(trainer.reference_cache, _fingerprint(config, source))
    sets = [groups for groups in (data.train, data.eval) if groups is not None]
    missing = _missing(sets, cache)
    if missing:
        logger.info("scoring %d groups under the reference, once", len(missing))
        model = load_reference_model(config, source)
        _score_share(frozen(model, probes(*sets)), model, missing, cache, config.per_device_eval_batch_size)
    if dist.is_initialized():
        dist.barrier()
    scores = cache.read()
    filled = [groups.with_reference([scores[group_key(g)] for g in groups]) for groups in sets]
    return PreparedData(filled[0], filled[1] if len(filled) > 1 else None, data.report)


def _missing(sets: list[GroupDataset], cache: ReferenceCache) -> dict[bytes, tuple[GroupDataset, int]]:
    """Groups that some worker finds no score for, by key, in the same order on every worker."""
    known = cache.read()
    wanted = {group_key(group): (groups, i) for groups in sets for i, group in enumerate(groups)}
    is_missing = torch.tensor([key not in known for key in wanted], dtype=torch.uint8, device=local_device())
    if dist.is_initialized():
        # also keeps everybody from writing before all have looked
        dist.all_reduce(is_missing, dist.ReduceOp.MAX)
    return {key: wanted[key] for key, lacks in zip(wanted, is_missing.tolist(), strict=True) if lacks}


def _score_share(
    reference: Reference, model: PreTrainedModel, missing: dict, cache: ReferenceCache, batch_groups: int
) -> None:
    rank, workers = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    places = list(missing.items())
    mine = places[rank::workers]
    share = -(-len(places) // workers)
    keys: list[bytes] = []
    scores: list[list[float]] = []
    tokens = 0
    for start in range(0, share, batch_groups):
        part = mine[start : start + batch_groups]
        # a worker with nothing left still has to take part where the weights are in shards
        members = [groups[i] for _, (groups, i) in part or places[:1]]
        batch = collate(members, path=reference.path or "packed").to(model.device)
        sums = reference.score(model, batch).tolist()
        keys += [key for key, _ in part]
        for group in members[: len(part)]:
            scores.append([sums.pop(0) for _ in group.completions])
        tokens += batch.num_tokens
        if keys and (tokens >= SHARD_TOKENS or start + batch_groups >= share):
            cache.write(keys, scores)
            keys, scores, tokens = [], [], 0


def _source(trainer: PreferenceTrainer) -> ModelSource:
    """The reference model: ``ref_model_name``, or what training starts from."""
    return ModelSource.reference(trainer.config) or trainer.start


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
