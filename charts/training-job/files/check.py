# SPDX-License-Identifier: Apache-2.0
"""Check, run by `helm test` in a pod of the release: validates each spec with the image's own code, and writes a file
to its run storage, reads it back and removes it."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from tadrib.training.config import load_spec
from tadrib.training.config.locations import is_url
from tadrib.training.errors import TadribError
from tadrib.training.files.store import Store

RETRY_SECONDS = 20.0  # for an object store that does not answer
CONTENT = b"written by helm test"


def try_storage(place: str) -> None:
    """Write, read and remove a file at a directory or URL. Raises OSError or ResourceError."""
    name = f".tadrib-test-{uuid.uuid4().hex}"
    if is_url(place):
        store = Store(place, retry_seconds=RETRY_SECONDS)
        store.write(name, CONTENT)
        found = store.read(name)
        store.remove(name)
    else:
        probe = Path(place) / name
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(CONTENT)
        found = probe.read_bytes()
        probe.unlink()
    if found != CONTENT:
        raise OSError(f"{name} in {place} was read back as {found!r}")


def main(folder: str) -> int:
    """Check every spec in ``folder``, and return the exit code."""
    failed = False
    for path in sorted(Path(folder).glob("*.yaml")):
        try:
            spec = load_spec(path)
            try_storage(spec.storage_path)
        except (TadribError, OSError) as error:
            failed = True
            print(f"{path.stem}: {error}")
        else:
            print(f"{path.stem}: the spec is valid, and {spec.storage_path} can be written and read")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
