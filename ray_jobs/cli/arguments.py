# SPDX-License-Identifier: Apache-2.0
"""Arguments shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Spec = Annotated[Path, typer.Argument(help="YAML file of the run.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[key=value]...", help="Changes to the spec, such as lora_r=8 resources.num_workers=2."
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start over; the existing run directory is moved aside.")
]
Run = Annotated[str, typer.Argument(help="Run directory or URL, or the name of a run.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]
