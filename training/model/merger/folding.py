# SPDX-License-Identifier: Apache-2.0
"""Fold an adapter into its base model, and measure the result beside the adapter model.

A QLoRA adapter can be folded into two bases. The original weights are usually the better ones, but the adapter never
saw them; the dequantized ones are what it was trained on. Which one is closer to the trained model is measured.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.merger import TITLE
from tadrib.training.model.merger.card import write_card
from tadrib.training.model.merger.folded_weights import FoldedWeights
from tadrib.training.model.merger.measurement import Reading, Rows, load_trained, read, read_folder
from tadrib.training.model.merger.merged_folder import new_folder
from tadrib.training.model.merger.opened_model import OpenedModel, open_model
from tadrib.training.model.merger.outcome import MergeOutcome
from tadrib.training.model.merger.writing import Writing, write_outcome
from tadrib.training.model.weight_files.dequantized_weights import DequantizedWeights

Base = Literal["original", "dequantized"]


@dataclass(frozen=True, slots=True)
class Trained:
    """How an adapter was trained: the ``config``, and the ``rows`` to measure on, if there are any."""

    config: CommonConfig
    rows: Rows | None = None

    @property
    def is_quantized(self) -> bool:
        return self.config.load_in_4bit or self.config.load_in_8bit


def fold(source: str, base: Base, trained: Trained | None, writing: Writing) -> MergeOutcome:
    """Fold the adapter ``source`` into its ``base`` and write the model. Raises SpecError if it is no adapter, or there
    is no dequantized base as it was not trained on a quantized one."""
    opened = {"original": _opened(source)}
    if base == "dequantized" and not (trained and trained.is_quantized):
        message = f"{source} was not trained on a quantized base model, as far as its spec is known."
        raise SpecError(TITLE, [Problem("--base", message, "Leave it out.")])
    reading = None
    if trained is not None and (trained.rows is not None or base == "dequantized"):
        reading = _add_trained(opened, trained)
    with new_folder(writing.output) as folder:
        outcome = _write(opened[base], folder, writing)
        outcome.base = base
        if reading is not None and trained is not None and trained.rows is not None:
            others = [each for each in get_args(Base) if each in opened and each != base]
            _measure(outcome, folder, trained, reading, {each: opened[each] for each in others}, writing)
        write_outcome(outcome, folder)
        write_card(folder, outcome, [opened[base]], trained.config if trained is not None else None)
    return outcome


def _opened(source: str) -> OpenedModel:
    model = open_model(source)
    if model.adapter is None:
        message = f"{source} is a full model, and no adapter that could be folded into one."
        action = "Give an adapter, a run with LoRA, or a merge.yaml."
        raise SpecError(TITLE, [Problem("SOURCE", message, action)])
    return model


def _add_trained(opened: dict[str, OpenedModel], trained: Trained) -> Reading | None:
    """Read the adapter model on the rows; if it is quantized, add its base weights to ``opened``."""
    original = opened["original"]
    assert original.adapter is not None
    model = load_trained(trained.config, original.adapter)
    if trained.is_quantized:
        quantized = model.get_base_model()
        name = (
            original.title
            if original.adapter.given_base is None
            else f"{original.adapter.base.name}+{original.title}"
        )
        opened["dequantized"] = open_model(
            name, rebase=lambda weights: DequantizedWeights(weights, quantized)
        )
    return None if trained.rows is None else read(model, trained.rows)


def _measure(
    outcome: MergeOutcome,
    folder: Path,
    trained: Trained,
    reading: Reading,
    others: dict[str, OpenedModel],
    writing: Writing,
) -> None:
    """Compare the merge in ``folder`` with the adapter model, and after it merges with the ``others``' bases."""
    rows = trained.rows
    assert rows is not None
    outcome.measured_on = rows.title
    ours = read_folder(folder, trained.config, rows)
    outcome.agreement.append(ours.agreement(reading, str(outcome.base), len(rows.groups)))
    for name, model in others.items():
        with tempfile.TemporaryDirectory(prefix=".merge-", dir=folder.parent) as aside:
            _write(model, Path(aside), writing)
            theirs = read_folder(Path(aside), trained.config, rows)
            outcome.agreement.append(theirs.agreement(reading, name, len(rows.groups)))


def _write(model: OpenedModel, folder: Path, writing: Writing) -> MergeOutcome:
    assert isinstance(model.weights, FoldedWeights)
    return writing.write(model.weights, folder, [model], model, "lora")
