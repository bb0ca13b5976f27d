# SPDX-License-Identifier: Apache-2.0
"""Training: a plain Python library that needs neither Ray nor a cluster."""

import logging

# on CPUs with AVX512_BF16 it suggests a package that downloads native code from the Hub, for a kernel we do not use
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

if (
    __name__ != "tadrib.training"
):  # in a checkout the folder alone could be imported too, as a second copy of everything
    raise ImportError("training is imported as tadrib.training")
