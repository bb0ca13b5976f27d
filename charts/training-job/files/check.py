# SPDX-License-Identifier: Apache-2.0
"""What `helm test` runs in a pod of the release: each spec is read by the image's own code, and a file is
written to its run storage, read back and removed."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from pyarrow import fs

from training.config import load_spec
from training.errors import SpecError


def try_storage(place: str) -> None:
    """Write, read and remove a file at a directory or URL. Raises OSError."""
    if "://" in place:
        store, path = fs.FileSystem.from_uri(place)
    else:
        store, path = fs.LocalFileSystem(), str(Path(place).absolute())
    probe, content = f"{path.rstrip('/')}/.tadrib-test-{uuid.uuid4().hex}", b"written by helm test"
    store.create_dir(path, recursive=True)
    with store.open_output_stream(probe) as stream:
        stream.write(content)
    with store.open_input_stream(probe) as stream:
        found = stream.read()
    store.delete_file(probe)
    if found != content:
        raise OSError(f"{probe} was read back as {found!r}")


def main(folder: str) -> int:
    """Check every spec in ``folder``; returns the exit code."""
    failed = False
    for path in sorted(Path(folder).glob("*.yaml")):
        try:
            spec = load_spec(path)
            try_storage(spec.storage_path)
        except (SpecError, OSError) as error:
            failed = True
            print(f"{path.stem}: {error}")
        else:
            print(f"{path.stem}: the spec is valid, and {spec.storage_path} can be written and read")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
