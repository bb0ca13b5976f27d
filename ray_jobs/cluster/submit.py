# SPDX-License-Identifier: Apache-2.0
"""Submitting: send a spec to a cluster, say what happens, and end as the run ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tadrib.ray_jobs.cluster.follow import follow
from tadrib.ray_jobs.cluster.jobs import JobServer
from tadrib.ray_jobs.cluster.runs import conclude, print_piece
from tadrib.ray_jobs.cluster.submission import read_submission, submit
from tadrib.ray_jobs.console import print_note
from tadrib.training.errors import StoppedError


def submit_and_follow(
    address: str, path: Path, overrides: Sequence[str], *, resume: str, fresh: bool, is_followed: bool
) -> None:
    """Raises SpecError when the spec is refused here or there, and the error of any other end but success."""
    import ray

    submission = read_submission(path, overrides, resume=resume, fresh=fresh)
    server = JobServer(address)
    if (there := server.ray_version()) != ray.__version__:
        print_note(f"! the cluster runs Ray {there}, and this machine has {ray.__version__}")
    job, is_attached = submit(server, submission)
    say = Console(highlight=False).print
    how = "is running this spec already" if is_attached else "has been submitted"
    say(f"{job.submission_id} {how}: {server.address}", soft_wrap=True)
    name = submission.spec.name
    if not is_followed:
        say(f"  follow it with: tadrib logs {name} --follow --address {server.address}", soft_wrap=True)
        return
    try:
        ended = follow(server, job, print_piece, print_note)
    except KeyboardInterrupt:
        again = f"tadrib logs {name} --follow --address {server.address}"
        end = f"tadrib stop {name} --address {server.address}"
        raise StoppedError(
            f"no longer following {job.submission_id}, which goes on\n  follow again: {again}\n  stop it: {end}"
        ) from None
    status = conclude(server, ended)
    say(f"{job.submission_id} succeeded: {status.run_directory}", soft_wrap=True)
