# SPDX-License-Identifier: Apache-2.0
"""The folder of a merged model: complete with tokenizer, chat template and stop tokens, or absent."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tadrib.training.errors import Problem, ResourceError
from tadrib.training.files.manifest import MANIFEST, seal
from tadrib.training.files.permissions import follow_umask
from tadrib.training.model.source import ADAPTER_FILE, CONFIG_FILE

_CARRIED = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py")
_LICENSES = ("LICENSE", "NOTICE", "USE_POLICY")
_LEFT = (ADAPTER_FILE, CONFIG_FILE, MANIFEST, "merge.json", "requirements.txt")
_TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write to, which becomes ``target``, sealed with a manifest, when this context ends without an error.

    Otherwise nothing is left of it. Raises ResourceError if ``target`` exists.
    """
    if target.exists():
        problem = Problem(str(target), "exists.", "Choose another folder with --output.")
        raise ResourceError("the merge was not written", [problem])
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        aside.chmod(0o755)
        yield aside
        follow_umask(aside)
        seal(aside)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def carry(folders: Sequence[Path], target: Path) -> None:
    """Copy what belongs to a model beside its weights and config.json, such as tokenizer, chat template and generation
    config; of several folders' files of one name, the last one's."""
    for folder in folders:
        files = {path.name: path for path in folder.iterdir() if _is_carried(path)}
        if (
            "tokenizer_config.json" in files
        ):  # a tokenizer saved without a template has none, whatever lies below it
            for name in _TEMPLATES:
                shutil.rmtree(target / name, ignore_errors=True)
                (target / name).unlink(missing_ok=True)
        for name, path in files.items():
            shutil.copyfile(path, target / name)
        if (templates := folder / _TEMPLATES[-1]).is_dir():
            shutil.copytree(templates, target / templates.name, dirs_exist_ok=True)


def write_config(
    config: dict[str, Any], target: Path, dtype: str, *, is_tied: bool, vocabulary: int | None
) -> None:
    """Write config.json with what the merge has changed of it. ``vocabulary`` is the number of embedding rows."""
    config = {key: value for key, value in config.items() if key not in ("torch_dtype", "_name_or_path")}
    config |= {"dtype": dtype, "tie_word_embeddings": is_tied}
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        if vocabulary is not None and "vocab_size" in part:
            part["vocab_size"] = vocabulary
        if part is inner:
            part |= {key: is_tied for key in ("tie_word_embeddings",) if key in part}
            part |= {key: dtype for key in ("dtype", "torch_dtype") if key in part}
    (target / CONFIG_FILE).write_text(
        json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _is_carried(path: Path) -> bool:
    if not path.is_file() or path.name in _LEFT or path.name.endswith(".index.json"):
        return False
    return path.suffix in _CARRIED or path.name.startswith(_LICENSES)
