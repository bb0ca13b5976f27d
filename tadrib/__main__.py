# SPDX-License-Identifier: Apache-2.0
"""``python -m tadrib``: the command line, where no script is on the PATH."""

from tadrib.ray_jobs.cli.app import main

main()
