# SPDX-License-Identifier: Apache-2.0
"""`tadrib merge`: fold a run's adapter into its base model, or merge models as a file says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tadrib.ray_jobs.console import print_note
from tadrib.ray_jobs.runs.lookup import find
from tadrib.training.config import CommonConfig, load_spec
from tadrib.training.errors import Problem, SpecError
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import FINAL, SPEC

if TYPE_CHECKING:
    from tadrib.training.model.merger.measurement import Rows
    from tadrib.training.model.merger.outcome import MergeOutcome

MERGED = "merged"


def merge_source(source: str, output: Path | None, *, rows: str | None, **options: Any) -> MergeOutcome:
    """Merge ``source``: a run, an adapter's folder, or a recipe. ``options`` are those of `ModelMerger`.

    Without ``output`` a run's merge goes to ``merged/`` in its directory, any other beside the source. A run's is
    compared with the adapter model on ``rows``, or on those that it held out.
    """
    from tadrib.training.model_merger import create_model_merger

    run = _run_of(source)
    target = output or _beside(source, run)
    if run is None:
        if not source.endswith((".yaml", ".yml")) and (rows is not None or options["base"] == "dequantized"):
            options["config"] = _assumed(source, rows, options["base"])
        return create_model_merger(source, target, rows=rows, **options).merge()
    from tadrib.training.model.hardware import fit_to_hardware

    spec = load_spec(run.spec_file)
    # this one process shares with nobody
    config = fit_to_hardware(spec.config.replace(strategy="ddp", deepspeed=None))
    options |= {"config": config, "rows": rows or _held_out(run)}
    return create_model_merger(run.final, target, **options).merge()


def _held_out(run: RunDirectory) -> Rows | None:
    """The rows that the run prepared; None, with a note, if they are no longer there."""
    from tadrib.training.data.prepare import PreparedData
    from tadrib.training.model.merger.measurement import Rows

    if damage := run.data_damage():
        print_note(f"! nothing is measured, as the run's rows are not here ({damage}): give --rows FILE.")
        return None
    return Rows.of_run(PreparedData.load(run.data))


def _assumed(source: str, rows: str | None, base: str) -> CommonConfig:
    """What an adapter without a spec was trained with, as far as it matters: NF4 where a dequantized base is meant."""
    from tadrib.training.config import SFTConfig
    from tadrib.training.model.hardware import fit_to_hardware

    config = SFTConfig(dataset_path=rows or source, model_name=source, load_in_4bit=base == "dequantized")
    return fit_to_hardware(config)


def print_outcome(outcome: MergeOutcome, *, as_json: bool) -> None:
    """For people, with what to do about poor figures; or the content of merge.json with the folder."""
    if as_json:
        print(json.dumps({"path": str(outcome.path), **outcome.to_mapping()}, ensure_ascii=False))
        return
    print(f"wrote {outcome.path}")
    for line in outcome.sentences():
        print(line)
    for line in outcome.advice():
        print_note(f"! {line}")


def _run_of(source: str) -> RunDirectory | None:
    """The run that ``source`` means, with its final weights on this machine; None for anything else."""
    if os.path.isfile(source) or (os.path.isdir(source) and not (Path(source) / SPEC).is_file()):
        return None
    files = find(source)
    if files.read(SPEC) is None:
        return None
    if not files.sizes(FINAL):
        problem = Problem("SOURCE", f"{source} has no final/ folder yet.", "Merge it when it has finished.")
        raise SpecError("the run cannot be merged", [problem])
    run = RunDirectory(files.location)
    run.pull()
    if damage := run.download_final():
        problem = Problem(
            "SOURCE", f"{source}: {damage}.", "Start the run again, which makes its weights again."
        )
        raise SpecError("the run cannot be merged", [problem])
    return run


def _beside(source: str, run: RunDirectory | None) -> Path:
    if run is not None and run.store is None:
        return run.path / MERGED
    if run is not None or not Path(source).exists():
        problem = Problem(
            "--output", f"required for {source}, which is no folder here.", "Give --output FOLDER."
        )
        raise SpecError("the merge has no place", [problem])
    path = Path(source)
    return path.with_name(f"{path.stem if path.is_file() else path.name}-{MERGED}")
