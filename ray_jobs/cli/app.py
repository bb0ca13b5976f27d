# SPDX-License-Identifier: Apache-2.0
"""The command line, `tadrib`. Commands import what they need when they run, so that validating a spec stays fast."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from tadrib.ray_jobs.cli import kubernetes, runs, training
from tadrib.ray_jobs.cli.arguments import AsJson, Overrides, Run, Spec
from tadrib.ray_jobs.cli.data import data_app
from tadrib.training.errors import TadribError
from tadrib.training.extras import explained

app = typer.Typer(
    help="Fine-tune language models from one YAML spec.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line. An error prints its text on standard error, and exits with the code of its kind."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # only tadrib shows progress
    if not sys.warnoptions:  # libraries' warnings are for programmers, not for users of a command
        warnings.simplefilter("ignore")
    try:
        app()
    except (TadribError, OSError) as error:
        sys.exit(_ended_by(error))
    except ImportError as error:
        if isinstance(known := explained(error), TadribError):
            sys.exit(_ended_by(known))
        raise


def _ended_by(error: TadribError | OSError) -> int:
    """Print an error that a user can act on, and return its exit code. Raises any OSError but that of a full disk."""
    from tadrib.ray_jobs.console import print_error
    from tadrib.ray_jobs.disk import full_at, is_full
    from tadrib.ray_jobs.streams import discard_unwritable_output

    if isinstance(error, OSError):
        if not is_full(error):
            raise error
        error = full_at(error.filename)
    with contextlib.suppress(OSError):
        print_error(error)
    discard_unwritable_output()
    return error.exit_code


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from tadrib.training.run.versions import versions

        typer.echo(f"tadrib {versions().get('tadrib', '(not installed)')}")
        raise typer.Exit


for _name, _command in {**training.COMMANDS, **runs.COMMANDS, **kubernetes.COMMANDS}.items():
    app.command(_name)(_command)


@app.command()
def validate(
    spec: Spec,
    overrides: Overrides = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print every value: given, default, or adjusted and why.")
    ] = False,
) -> None:
    """Check a spec, including its paths, and report everything that is wrong with it. Starts nothing.

    A path on a volume that this machine does not have is only noted: the run may be meant for a cluster that has it.
    """
    from tadrib.ray_jobs.cli.validation import validate_here

    validate_here(spec, overrides or [], show=show)


@app.command()
def plan(
    spec: Spec,
    overrides: Overrides = None,
    gpu_memory: Annotated[float, typer.Option(help="Memory of one GPU, in GiB.", min=1)] = 80.0,
    as_json: AsJson = False,
) -> None:
    """Say how much memory a run takes, part by part, from the spec and the model's config.json. Starts nothing.

    Exits with 4 when it cannot fit, and names changes by which it would, each with what it costs.
    """
    from tadrib.ray_jobs.cli.planning import plan_spec

    if not plan_spec(spec, overrides or [], gpu_memory=gpu_memory, as_json=as_json):
        raise typer.Exit(4)


@app.command()
def compare(
    run: Run,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    file: Annotated[Path | None, typer.Option(help="File with one prompt a line.")] = None,
    max_length: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Compare the trained model's answers with those of the model it started from."""
    from tadrib.ray_jobs.cli.comparison import compare_run, print_comparison, read_prompts

    prompts = [*(prompt or []), *(read_prompts(file) if file else [])]
    form = "json" if as_json else "markdown" if as_markdown else "table"
    print_comparison(compare_run(run, prompts, max_length), form)


@app.command()
def presets() -> None:
    """Print the paths of the DeepSpeed files behind the strategies, to read or to copy and change."""
    from tadrib.training.config.strategy import PRESETS

    for file in sorted(PRESETS.glob("*.json")):
        typer.echo(file)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="A *.gguf file.", show_default=False)],
    directory: Annotated[Path, typer.Argument(help="Where to write the model.", show_default=False)],
) -> None:
    """Convert a GGUF file to a model that can be trained. Precision lost to quantization is not restored.

    Prefer the original model; this is for files of which nothing else is left.
    """
    from tadrib.training.model.gguf_conversion import convert as convert_gguf

    typer.echo(f"wrote {convert_gguf(file, directory)}")


@app.command()
def merge(
    source: Annotated[
        str,
        typer.Argument(
            help="A run (its directory, URL or name), an adapter's folder, or a recipe (*.yaml).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; else merged/ in the run, or SOURCE-merged.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; else that of the base model.")
    ] = None,
    rounding: Annotated[
        str, typer.Option(help="nearest, or stochastic, which keeps small changes on average.")
    ] = "nearest",
    seed: Annotated[int, typer.Option(help="Seed of stochastic rounding and of DARE.")] = 0,
    base: Annotated[
        str, typer.Option(help="Of an adapter trained in 4 or 8 bits: original or dequantized weights.")
    ] = "original",
    rows: Annotated[
        str | None, typer.Option(help="Dataset to compare merge and adapter on; else a run's held-out rows.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fold an adapter into its base model, or merge models as a recipe says, and tell what rounding loses.

    A recipe has mergekit's keys, for linear, slerp, nuslerp, task_arithmetic, ties, dare_linear and dare_ties; and cat
    and svd merge adapters into one.
    """
    from tadrib.ray_jobs.cli.merging import merge_source, print_outcome

    outcome = merge_source(source, output, dtype=dtype, rounding=rounding, seed=seed, base=base, rows=rows)
    print_outcome(outcome, as_json=as_json)


@app.command()
def tiny_model(
    directory: Annotated[Path, typer.Argument(help="Where to write it.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
    text: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSON lines or plain text to train its tokenizer on (default: the bundled data); may be repeated."
        ),
    ] = None,
) -> None:
    """Build a model of a million parameters with its own tokenizer, for trying things out offline.

    The image contains no data, so --text is required there.
    """
    from tadrib.training.tiny.model import build_tiny_model

    typer.echo(f"wrote {build_tiny_model(directory, text or None, seed)}")


if __name__ == "__main__":
    main()
