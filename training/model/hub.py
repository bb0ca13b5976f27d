# SPDX-License-Identifier: Apache-2.0
"""Check once whether a model is available on the Hugging Face Hub; loading itself would retry for minutes."""

from __future__ import annotations

from tadrib.training.model.source import ModelSource, unloadable

_SECONDS_TO_ANSWER = 10.0


def require_on_hub(source: ModelSource) -> None:
    """Raises SpecError if ``source`` is neither a folder nor cached, and the Hub lacks it or is unreachable.

    Server errors of the Hub are ignored: loading the model retries.
    """
    if source.folder is not None:
        return
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(try_to_load_from_cache(source.name, "config.json", revision=source.revision), str):
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
