# SPDX-License-Identifier: Apache-2.0
"""Hold out a part of a dataset, independently of row order and without sharing a prompt with the rest."""

from __future__ import annotations

import hashlib

import numpy as np

from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.errors import DataError, Problem


def hash_of(content: bytes) -> int:
    """64 bits that stand for ``content``: of ten million different ones, two are the same with a chance of 3 in a
    million."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def prompt_key(dialogue: Dialogue) -> int:
    """A key that is equal for dialogues with the same prompt, and for the parts of a document."""
    is_part = dialogue.part is not None
    text = repr(dialogue.answers) if is_part else repr((dialogue.prompt, dialogue.input))
    return hash_of(text.encode("utf-8", "surrogatepass"))


def held_out(name: str, keys: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Whether each row is held out, by the ``keys`` of their prompts (uint64): ``share`` of the distinct prompts, at
    least one, with all their rows.

    Prompts are sorted by a hash of seed and key, and the first ones are taken. So the choice depends neither on the
    order of rows nor on the process, and adding rows moves few prompts between the parts.

    Raises:
        DataError: too few distinct prompts for both parts.
    """
    prompts = np.unique(keys)
    count = max(1, round(share * len(prompts)))
    if count == len(prompts):
        message = f"{share} of {len(prompts)} distinct prompts is {count}, but both parts need at least one."
        raise DataError(name, [Problem("validation_split", message, "Change it, or use eval_dataset_path.")])
    salt = np.uint64(hash_of(str(seed).encode()))
    chosen = prompts[np.argsort(_mixed(prompts ^ salt), kind="stable")[:count]]
    return np.isin(keys, chosen)


def _mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014, doi.org/10.1145/2660193.2660195): a permutation of the 64-bit
    integers in which every bit of the input changes half of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
