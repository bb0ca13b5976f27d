# SPDX-License-Identifier: Apache-2.0
"""Rules about several datasets that a run trains on together."""

from __future__ import annotations

from tadrib.training.config.rules.common import rule
from tadrib.training.config.view import View
from tadrib.training.errors import Problem


@rule("datasets", "dataset_path")
def one_list_of_rows(view: View) -> Problem | None:
    """`dataset_path` and `datasets` exclude each other: the one is short for a list of one."""
    if view["datasets"] and "dataset_path" in view.given:
        return Problem(
            "dataset_path",
            f"{view['dataset_path']} together with datasets; training rows are named in one place.",
            "Remove dataset_path, and add its file to datasets as `- path: …`.",
        )
    return None


@rule("datasets")
def datasets_have_names_of_their_own(view: View) -> Problem | None:
    """The names of `datasets`, given or taken from their paths, differ."""
    labels = [source.label for source in view["datasets"]]
    for number, label in enumerate(labels):
        if label in labels[:number]:
            return Problem(
                f"datasets[{number}].name",
                f"{label}, as datasets[{labels.index(label)}]; metrics are told apart by it.",
                f"Use {label}-{number}.",
            )
    return None


@rule("datasets")
def all_datasets_have_a_weight_or_none(view: View) -> Problem | None:
    """All entries of `datasets` have a `weight`, or none has."""
    without = [number for number, source in enumerate(view["datasets"]) if source.weight is None]
    if without and len(without) < len(view["datasets"]):
        action = "Write 1. Or remove all weights, and set max_rows where a dataset is too large."
        return Problem(f"datasets[{without[0]}].weight", "not set, but others are.", action)
    return None


@rule("datasets")
def a_weight_or_a_number_of_rows(view: View) -> Problem | None:
    """An entry of `datasets` has `weight` or `max_rows`, not both."""
    for number, source in enumerate(view["datasets"]):
        if source.weight is not None and source.max_rows is not None:
            return Problem(
                f"datasets[{number}].max_rows",
                f"{source.max_rows} together with weight: {source.weight}; both say how much of it is trained on.",
                "Remove it, or the weight.",
            )
    return None
