# SPDX-License-Identifier: Apache-2.0
"""Hub: whether a model can be had from the Hugging Face Hub, asked once; loading itself tries for minutes."""

from __future__ import annotations

from tadrib.training.model.source import ModelSource, unloadable

_SECONDS_TO_ANSWER = 10.0


def require_on_hub(source: ModelSource) -> None:
    """Raises SpecError when ``source`` is no folder, not in the local cache, and the Hub has it not or is out of reach.

    An answer that the Hub has trouble is no refusal: whoever loads the model tries again.
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
    except Exception as error:  # of the HTTP client, whichever the Hub's library uses
        raise unloadable(source, error) from error
