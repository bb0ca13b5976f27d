# SPDX-License-Identifier: Apache-2.0
"""Models on the Hugging Face Hub: whether one is there, asked once where loading would retry for minutes, and its files
brought into the cache of this machine, once for all of its workers."""

from __future__ import annotations

import errno
import uuid
from pathlib import Path

from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, ResourceError
from tadrib.training.model.adapter_folder import base_of
from tadrib.training.model.source import ModelSource, unloadable

_SECONDS_TO_ANSWER = 10.0
_WEIGHTS = ("model.safetensors", "model-*.safetensors", "adapter_model*.safetensors")
_TEXTS = ("*.json", "*.jinja", "*.model", "*.txt")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def require_on_hub(source: ModelSource) -> None:
    """Raises SpecError if ``source`` is neither a folder nor cached, and the Hub lacks it or is unreachable.

    Server errors of the Hub are ignored: loading the model retries.
    """
    if source.folder is not None:
        return
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    if _is_cached(source):
        return
    try:
        HfApi().model_info(source.name, revision=source.revision, timeout=_SECONDS_TO_ANSWER)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise unloadable(source, error) from error
    except HfHubHTTPError:
        return
    except (
        Exception
    ) as error:  # raised by the HTTP client, which differs between versions of the Hub's library
        raise unloadable(source, error) from error


def names_hub(config: CommonConfig) -> bool:
    """Whether ``config`` names a model that may have to be fetched."""
    return any(source.folder is None for source in _sources(config))


def fetch_models(config: CommonConfig) -> None:
    """Bring what training reads of the models in ``config``, and of the base of an adapter, into the Hub's cache.

    Of all processes that share the cache (HF_HOME), one downloads behind a lock file. The others wait for it, and have
    nothing left to do: those of a machine, or of every machine where the cache is on a volume. Folders need nothing.

    Raises SpecError if the Hub lacks a model or is unreachable and it is not cached, ResourceError if the cache cannot
    hold it.
    """
    for source in _sources(config):
        if source.folder is None and not source.is_surely_a_folder:
            _fetch(source)
        base = base_of(source)
        if base != source and base.folder is None:
            _fetch(base)


def _sources(config: CommonConfig) -> list[ModelSource]:
    both = (ModelSource.start(config), ModelSource.reference(config))
    return [source for source in both if source is not None]


def _fetch(source: ModelSource) -> None:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import WeakFileLock

    wanted = [*_WEIGHTS, *_TEXTS, *(["*.py"] if source.trust_remote_code else [])]
    name = f"tadrib--{source.name}--{source.revision or 'main'}".replace("/", "--")
    lock = Path(constants.HF_HUB_CACHE) / ".locks" / f"{name}.lock"
    done = lock.with_name(f"{name}.fetched")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        before = _text(done)
        with WeakFileLock(str(lock)):
            if _text(done) != before:  # another process has fetched it while this one waited
                return
            # other formats and sizes of the same model stand in folders of their own
            snapshot_download(
                source.name, revision=source.revision, allow_patterns=wanted, ignore_patterns=["*/*"]
            )
            done.write_text(uuid.uuid4().hex)
    except (
        Exception
    ) as error:  # raised by the HTTP client, which differs between versions of the Hub's library
        if isinstance(error, OSError) and error.errno in _CLOSED and _is_cached(source):
            return  # somebody else fills this cache
        if isinstance(error, OSError) and error.errno in (*_FULL, *_CLOSED):
            message = f"cannot keep {source.name}: {error.strerror}."
            action = "Free some space, or set HF_HOME to a folder with room that this user may write."
            problem = Problem(str(constants.HF_HUB_CACHE), message, action)
            raise ResourceError("the model cannot be fetched", [problem]) from error
        raise unloadable(source, error) from error


def _is_cached(source: ModelSource) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(source.name, "config.json", revision=source.revision), str)


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
