# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.fuzz --inputs 100000``: try that many inputs; exits with 1 when one was neither accepted nor
refused with an error of ours in time and memory."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.kinds import KINDS, plan
from tests.fuzz.pool import run_all
from tests.fuzz.trial import Outcome, run_trial

MOST_FAULTS_SHOWN = 50
SECONDS_BETWEEN_LINES = 10.0


def main() -> int:
    arguments = _arguments()
    if arguments.only and arguments.inputs is None:
        return _one(arguments.only, arguments.seed)
    cases = plan(arguments.inputs or 2000, arguments.seed)
    if arguments.only:
        cases = [(arguments.only, arguments.seed + place) for place in range(arguments.inputs)]
    return _many(cases, arguments.workers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, help="how many (2000; with --only and --seed: that one)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first input of each kind")
    parser.add_argument("--only", choices=KINDS, help="one kind alone")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    return parser.parse_args()


def _one(kind: str, seed: int) -> int:
    """Try one input here, show what came of it, and leave its files."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{kind}-{seed}-"))
    outcome = run_trial(kind, seed, folder)
    print(f"{kind} {seed}: {outcome.verdict} after {outcome.seconds:.2f} s; its files are in {folder}")
    print(outcome.detail)
    return int(outcome.verdict == "fault")


def _many(cases: list[tuple[str, int]], workers: int) -> int:
    began = shown = time.monotonic()
    counts: Counter[tuple[str, str]] = Counter()
    slowest: Outcome | None = None
    for done, outcome in enumerate(run_all(cases, workers), start=1):
        counts[outcome.kind, outcome.verdict] += 1
        slowest = outcome if slowest is None or outcome.seconds > slowest.seconds else slowest
        if outcome.verdict == "fault" and _faults(counts) <= MOST_FAULTS_SHOWN:
            print(f"FAULT {outcome.command}\n{outcome.detail}", flush=True)
        if time.monotonic() - shown > SECONDS_BETWEEN_LINES or done == len(cases):
            shown = time.monotonic()
            print(
                f"{done:,} of {len(cases):,} inputs, {_faults(counts)} faults, {shown - began:.0f} s",
                flush=True,
            )
    for kind in KINDS:
        numbers = [f"{counts[kind, verdict]:,} {verdict}" for verdict in ("accepted", "refused", "fault")]
        print(f"{kind:>5}: {', '.join(numbers)}")
    if slowest is not None:
        print(f"slowest: {slowest.seconds:.2f} s, {slowest.command}")
    return int(_faults(counts) > 0)


def _faults(counts: Counter[tuple[str, str]]) -> int:
    return sum(count for (_, verdict), count in counts.items() if verdict == "fault")


if __name__ == "__main__":
    sys.exit(main())
