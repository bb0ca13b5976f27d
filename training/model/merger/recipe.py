# SPDX-License-Identifier: Apache-2.0
"""Recipe: what to merge and how, with the keys that mergekit has for the same methods."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tadrib.training.model.merger.settings import PARAMETERS, Settings, resolve

Dtype = Literal["float32", "bfloat16", "float16"]
ADAPTERS = ("cat", "svd")
"""Methods that merge adapters into an adapter."""
NEED_BASE = ("slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties")
BASED = (*NEED_BASE, "nuslerp")
"""Methods for which the base model is none of the models that are merged."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Entry(_Part):
    """A model or adapter: a folder, a run directory, a Hub name, or ``base+adapter``."""

    model: str = Field(min_length=1)
    parameters: Settings = {}


class Source(Entry):
    """A model of a slice, and its layers from the first to the one before the last number."""

    layer_range: list[int] = Field(min_length=2, max_length=2)


class Slice(_Part):
    """All layers of all models; mergekit's other slices rearrange layers, which is not done here."""

    sources: list[Source] = Field(min_length=1)
    parameters: Settings = {}


class MergeRecipe(_Part):
    """How to merge ``models``, or the sources of the one slice. Build it with
    `recipe_file.parse_recipe`.

    ``parameters`` of a model replace those of the recipe. ``dtype`` and ``out_dtype`` both set the dtype written, the
    latter first; the default is the base model's. Arithmetic is in float32 always. ``tokenizer_source`` is ``base`` or
    one of the models.
    """

    merge_method: Literal[tuple(PARAMETERS)]  # type: ignore[valid-type]
    models: list[Entry] = []
    slices: list[Slice] = Field(default=[], max_length=1)
    base_model: str | None = None
    parameters: Settings = {}
    dtype: Dtype | None = None
    out_dtype: Dtype | None = None
    tokenizer_source: str | None = None

    @property
    def entries(self) -> list[Entry]:
        """The models that are merged, without the base model where the method treats it as such."""
        listed = self.listed
        if self.merge_method not in BASED:
            return listed
        return [entry for entry in listed if entry.model != self.base_model]

    @property
    def listed(self) -> list[Entry]:
        """The models of the recipe, the base model too if it is among them."""
        return [*self.models, *(source for each in self.slices for source in each.sources)]

    @property
    def is_of_adapters(self) -> bool:
        return self.merge_method in ADAPTERS

    @property
    def written_in(self) -> str | None:
        return self.out_dtype or self.dtype

    def shared(self, key: str, name: str, depth: float) -> Any:
        """The value of a parameter of the method for the tensor ``name``; see `settings.resolve`."""
        return resolve(key, [*self._slice, self.parameters], name, depth, PARAMETERS[self.merge_method][key])

    def each(self, key: str, name: str, depth: float) -> list[float]:
        """The value of a parameter for each of `entries`."""
        default = PARAMETERS[self.merge_method][key]
        scopes = [*self._slice, self.parameters]
        return [float(resolve(key, [e.parameters, *scopes], name, depth, default)) for e in self.entries]

    @property
    def _slice(self) -> list[Settings]:
        return [each.parameters for each in self.slices]
