# SPDX-License-Identifier: Apache-2.0
"""The model card of a merge, README.md: what it was made of and how, and what that lost.

The front matter is that of the Hugging Face Hub: https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tadrib.training.config import CommonConfig
from tadrib.training.config.registry import method_of
from tadrib.training.files.regular_file import read_regular
from tadrib.training.model.merger.opened_model import OpenedModel
from tadrib.training.model.merger.outcome import MergeOutcome
from tadrib.training.redaction import redact
from tadrib.training.run.versions import versions

_INHERITED = ("license", "license_name", "license_link", "language")
_OF_THE_MACHINE = ("output_dir", "callbacks", "report_to")


def write_card(
    folder: Path, outcome: MergeOutcome, models: Sequence[OpenedModel], config: CommonConfig | None = None
) -> None:
    """Write README.md for a merge of ``models``; ``config`` is that of the training, if it is known."""
    text = "\n".join(_lines(folder, outcome, models, config))
    (folder / "README.md").write_text(redact(text) + "\n", encoding="utf-8")


def _lines(
    folder: Path, outcome: MergeOutcome, models: Sequence[OpenedModel], config: CommonConfig | None
) -> Iterator[str]:
    names = [each.adapter.base.name if each.adapter else each.title for each in models]
    matter: dict[str, Any] = {
        "library_name": "transformers",
        "base_model": sorted(set(names)),
        "base_model_relation": "finetune" if outcome.method == "lora" else "merge",
        "tags": ["tadrib", "merge"],
        **_inherited(models),
    }
    yield f"---\n{yaml.safe_dump(matter, allow_unicode=True, sort_keys=False)}---"
    yield f"\n# {outcome.path.name}\n"
    if outcome.method == "lora":
        yield f"A LoRA adapter folded into the {outcome.base} weights of `{names[0]}`, written in {outcome.dtype}.\n"
    else:
        yield f"A merge by `{outcome.method}`, written in {outcome.dtype}.\n"
    yield "| merged from | SHA-256 |\n|---|---|"
    yield from (f"| `{name}` | `{digest}` |" for name, digest in outcome.inputs.items())
    if outcome.parameters:
        yield f"\n```yaml\n{yaml.safe_dump(outcome.parameters, allow_unicode=True, sort_keys=False)}```"
    if config is not None:
        yield "\n## Training\n"
        yield f"Method: {method_of(config)}. Settings that were given:\n"
        given = {
            key: getattr(config, key) for key in sorted(config.model_fields_set) if key not in _OF_THE_MACHINE
        }
        yield f"```yaml\n{yaml.safe_dump(_plain(given), allow_unicode=True)}```"
    if figures := [line.strip() for line in outcome.sentences()]:
        yield "\n## Figures\n"
        yield from (f"- {line}" for line in figures)
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    yield f"\nMade with {made}. `merge.json` has the figures, `manifest.json` the hashes of all files."
    if any(folder.glob("LICENSE*")):
        yield "The licence of the base model is beside this file."


def _inherited(models: Sequence[OpenedModel]) -> dict[str, Any]:
    """What the cards of the models say of licence and language, the first one that says anything."""
    found: dict[str, Any] = {}
    for path in (path for each in models for path in each.folders):
        try:
            _, matter, _ = read_regular(path / "README.md").decode().split("---", 2)
            given = yaml.safe_load(matter)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(given, dict):
            found = {key: given[key] for key in _INHERITED if key in given} | found
    return found


def _plain(value: Any) -> Any:
    """``value`` of types that YAML has."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)
