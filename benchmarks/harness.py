# SPDX-License-Identifier: Apache-2.0
"""Paired measurements: each side a process of its own, the sides in turn, medians of the runs.

A side is a function ``(case) -> seconds`` named by ``module:function``; it prepares, then returns the seconds of the
part that counts. Its process reports that and its peak memory: resident, or on the GPU where the case's device is cuda.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; ``ratio`` is the peer's median seconds over ours, ``bar`` the ratio asked for."""

    name: str
    ratio: float
    bar: float | None
    ours_seconds: list[float]
    peer_seconds: list[float]
    ours_peak_bytes: int
    peer_peak_bytes: int
    ideal_ratio: float | None = None

    @property
    def met(self) -> bool:
        return self.bar is None or self.ratio >= self.bar

    @property
    def efficiency(self) -> float | None:
        """The ratio over its ideal."""
        return None if self.ideal_ratio is None else self.ratio / self.ideal_ratio


def compare(
    name: str,
    ours: str,
    peer: str,
    case: dict,
    *,
    runs: int,
    threads: int,
    bar: float | None = None,
    ideal: float | None = None,
) -> Row:
    """Run the sides in turn, ``runs`` times each, on ``threads`` threads. Raises CalledProcessError when one fails."""
    measured: dict[str, list[dict]] = {ours: [], peer: []}
    for _ in range(runs):
        for side in (ours, peer):
            measured[side].append(_run_side(side, case, threads))
    seconds = {side: [m["seconds"] for m in ms] for side, ms in measured.items()}
    peaks = {side: int(statistics.median(m["peak_bytes"] for m in ms)) for side, ms in measured.items()}
    ratio = statistics.median(seconds[peer]) / statistics.median(seconds[ours])
    return Row(name, ratio, bar, seconds[ours], seconds[peer], peaks[ours], peaks[peer], ideal)


def _run_side(side: str, case: dict, threads: int) -> dict:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    command = [sys.executable, "-m", "benchmarks.harness", side, json.dumps(case)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def report(rows: list[Row], title: str, json_file: Path | None) -> None:
    """Print the table and write the rows, with date and hardware, to ``json_file``."""
    table = Table(title=f"{title}\n{hardware()}")
    for column in (
        "comparison",
        "ratio",
        "bar",
        "ideal",
        "efficiency",
        "ours s",
        "peer s",
        "ours peak MiB",
        "peer peak MiB",
    ):
        table.add_column(column, justify="left" if column == "comparison" else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.ratio:.2f}{'' if row.met else ' MISSED'}",
            _two_digits(row.bar),
            _two_digits(row.ideal_ratio),
            _two_digits(row.efficiency),
            f"{statistics.median(row.ours_seconds):.2f}",
            f"{statistics.median(row.peer_seconds):.2f}",
            f"{row.ours_peak_bytes / 2**20:.0f}",
            f"{row.peer_peak_bytes / 2**20:.0f}",
        )
    Console(width=130).print(table)
    if json_file is not None:
        facts = {"title": title, "date": datetime.now(UTC).date().isoformat(), "hardware": hardware()}
        json_file.write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def _two_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def hardware() -> str:
    """Processor, GPU if there is one, cores, Python and the versions that matter, in one line."""
    from importlib.metadata import version

    import torch

    cpu = platform.processor() or platform.machine()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft"))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cpu}, {os.cpu_count()} cores{gpu}, Python {platform.python_version()}, {packages}"


def _measure(side: str, case: dict) -> None:
    module, function = side.split(":")
    seconds = getattr(importlib.import_module(module), function)(case)
    print(json.dumps({"seconds": seconds, "peak_bytes": _peak_bytes(case.get("device", "cpu"))}))


def _peak_bytes(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    _measure(sys.argv[1], json.loads(sys.argv[2]))
