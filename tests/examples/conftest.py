# SPDX-License-Identifier: Apache-2.0
"""Import path of the example scripts, which run as files and not as a package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
