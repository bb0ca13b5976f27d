# SPDX-License-Identifier: Apache-2.0
"""The command."""

import typer

from benchmarks.gpu.check import main

typer.run(main)
