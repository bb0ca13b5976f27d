# SPDX-License-Identifier: Apache-2.0
"""Ray's client of job servers, as Ray 2.60.0 has it, with a limit to how long it waits for an answer:
https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/dashboard/modules/dashboard_sdk.py
"""

from __future__ import annotations

from typing import Any

import requests
from ray.job_submission import JobSubmissionClient

_SECONDS_TO_ANSWER = 30


class Client(JobSubmissionClient):
    """Ray's client blocks forever on a server that stopped answering; this one has a timeout."""

    def _do_request(self, *arguments: Any, **options: Any) -> requests.Response:
        return super()._do_request(*arguments, timeout=_SECONDS_TO_ANSWER, **options)

    @property
    def ray_version(self) -> str | None:
        """Ray's version on the server; None if it did not report one."""
        return self._server_ray_version
