# SPDX-License-Identifier: Apache-2.0
"""What a run is: a plain Python library, usable with neither Ray nor a cluster."""

import logging

# on CPUs with AVX512_BF16 it asks for a package that fetches native code from the Hub, for a way we do not take
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

if (
    __name__ != "tadrib.training"
):  # in a checkout the folder alone could be imported too, as a second copy of everything
    raise ImportError("training is imported as tadrib.training")
