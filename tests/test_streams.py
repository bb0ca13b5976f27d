# SPDX-License-Identifier: Apache-2.0
"""Output on a disk that is full to the last byte, which /dev/full is."""

import subprocess
import sys
from pathlib import Path

import pytest

from tadrib.ray_jobs.streams import output_sent_to
from tadrib.training.errors import ResourceError

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
PROGRAM = """
from pathlib import Path
from tadrib.ray_jobs.cli import app as cli
from tadrib.ray_jobs.streams import output_sent_to
from tadrib.training.errors import Problem, ResourceError

@cli.app.command()
def fill() -> None:
    with output_sent_to(Path("/dev/full")) as screen:
        print("lost" * 10_000)
        screen.write("seen\\n")
        raise ResourceError("no space left", [Problem("run", "is full.", "Free some space.")])

cli.main()
"""


def test_an_error_comes_out_of_a_log_that_cannot_be_written(capsys):
    with pytest.raises(ResourceError, match="the reason"), output_sent_to(FULL):  # noqa: PT012
        print("lost" * 10_000)
        raise ResourceError("the reason")
    print("after")
    assert capsys.readouterr().out.endswith("after\n")


@pytest.mark.parametrize("place", ["pipe", "full"])
def test_the_message_and_the_exit_code_of_a_full_disk_survive_it(place):
    command = [sys.executable, "-c", PROGRAM, "fill"]
    if place == "pipe":
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stderr == "✗ no space left: 1 problem\n  run: is full. Free some space.\n"
        assert done.stdout == "seen\n"
    else:
        with FULL.open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=full, timeout=60)
    assert done.returncode == 2


def test_a_full_disk_outside_a_run_is_named_as_well():
    program = PROGRAM.replace("print(", "raise OSError(28, 'No space left on device', '/runs/lock.json') #")
    done = subprocess.run([sys.executable, "-c", program, "fill"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("✗ no space left: 1 problem\n  /runs/lock.json: could not be written")
