# SPDX-License-Identifier: Apache-2.0
"""Best-fit packing of whole groups into bins with a fixed token capacity.

Source: best-fit decreasing as used for documents by Ding et al. 2024, "Fewer Truncations Improve Language Modeling"
(arXiv 2404.10830, section 3). Difference: groups are never split; one that exceeds a bin is an error.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np


def best_fit(num_tokens: Sequence[int] | np.ndarray, bin_tokens: int, order: np.ndarray) -> list[list[int]]:
    """Pack items into bins of at most ``bin_tokens``, longest first, each into the fullest bin it still fits.

    ``num_tokens[i]`` is the size of item ``i``. ``order`` lists the items to pack and breaks ties, so a shuffled order
    packs an item with different neighbours. Returns bins of item numbers; every item of ``order`` is in exactly one.
    Raises ValueError if an item is larger than a bin. O(n log bin_tokens).
    """
    sizes = np.asarray(num_tokens)[order]
    if len(sizes) and sizes.max() > bin_tokens:
        item = int(order[int(sizes.argmax())])
        raise ValueError(f"group {item} has {sizes.max()} tokens, more than a bin of {bin_tokens}")
    bins: list[list[int]] = []
    open_bins: dict[int, list[int]] = {}  # free tokens -> bins with exactly that many free
    free_sizes: list[int] = []  # the keys of open_bins, ascending
    # a stable sort keeps the order of equal sizes, which is where the shuffle has its effect
    for position in np.argsort(-sizes, kind="stable"):
        item, size = int(order[position]), int(sizes[position])
        # the smallest free space of at least `size`: the best fit
        slot = bisect_left(free_sizes, size)
        if slot == len(free_sizes):
            bins.append([])
            number, free = len(bins) - 1, bin_tokens
        else:
            free = free_sizes[slot]
            number = open_bins[free].pop()
            if not open_bins[free]:
                del open_bins[free]
                free_sizes.pop(slot)
        bins[number].append(item)
        left = free - size
        if left > 0:
            if left not in open_bins:
                open_bins[left] = []
                insort(free_sizes, left)
            open_bins[left].append(number)
    return bins
