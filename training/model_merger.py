# SPDX-License-Identifier: Apache-2.0
"""`ModelMerger`: fold an adapter into its base model, or merge several models, and say what that loses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from tadrib.training.extras import explained

try:
    from tadrib.training.model.merger.folding import Base, Trained, fold
except ImportError as error:
    raise explained(error) from error

from tadrib.training.config import CommonConfig
from tadrib.training.errors import Problem, SpecError, nearest
from tadrib.training.model.fingerprint import model_fingerprint
from tadrib.training.model.merger import TITLE
from tadrib.training.model.merger.adapter_merge import merge_adapters
from tadrib.training.model.merger.card import write_card
from tadrib.training.model.merger.compatibility import require_compatible
from tadrib.training.model.merger.measurement import Rows
from tadrib.training.model.merger.merged_folder import carry, new_folder
from tadrib.training.model.merger.merging import MergedWeights
from tadrib.training.model.merger.opened_model import OpenedModel, open_model
from tadrib.training.model.merger.outcome import MergeOutcome
from tadrib.training.model.merger.recipe import BASED, MergeRecipe
from tadrib.training.model.merger.recipe_file import parse_recipe, read_recipe
from tadrib.training.model.merger.settings import Depth
from tadrib.training.model.merger.writing import Writing, write_outcome
from tadrib.training.model.weight_files.shards import SHARD_BYTES
from tadrib.training.model.weight_files.weight_writer import Rounding

DTYPES = ("float32", "bfloat16", "float16")


class ModelMerger:
    """Merges ``source``, an adapter folder, a run's ``final/``, or a recipe or its file, into the folder ``output``.

    An adapter is folded into its base model; a recipe is what `MergeRecipe` describes, with mergekit's keys. Tensors
    are streamed in blocks: memory does not grow with the model, except for what ``config`` asks to measure.

    - ``dtype``: that of the weights written; by default the recipe's, else each tensor's own.
    - ``rounding``: ``nearest``, or ``stochastic`` for bfloat16, with ``seed``, which is DARE's too.
    - ``config``: what the adapter was trained with. With ``rows``, a dataset or prepared `Rows`, the merge is then
      compared with the adapter model; one trained in 4 or 8 bits on both of its bases.
    - ``base``: the base that an adapter trained in 4 or 8 bits is folded into: ``original`` or ``dequantized``.
    - ``shard_bytes``: the largest size of a file.
    """

    def __init__(
        self,
        source: str | Path | Mapping[str, Any] | MergeRecipe,
        output: str | Path,
        *,
        dtype: str | None = None,
        rounding: Rounding = "nearest",
        seed: int = 0,
        base: Base = "original",
        config: CommonConfig | None = None,
        rows: str | Rows | None = None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        for key, value, known in (("dtype", dtype, DTYPES), ("rounding", rounding, get_args(Rounding))):
            _require_known(key, value, known)
        _require_known("base", base, get_args(Base))
        self.recipe = _recipe(source)
        self.source, self.base, self.config, self.rows = source, base, config, rows
        written_in = dtype or (self.recipe.written_in if self.recipe else None)
        self.writing = Writing(Path(output), written_in, rounding, seed, shard_bytes)

    def merge(self) -> MergeOutcome:
        """Write the merged model, complete or not at all, with tokenizer, chat template and generation config.

        Raises SpecError for inputs that cannot be read or do not go together, and ResourceError if ``output`` exists.
        """
        if self.recipe is None:
            return fold(str(self.source), self.base, self._trained(), self.writing)
        if self.base != "original" or self.rows is not None:
            key = "--rows" if self.base == "original" else "--base"
            raise SpecError(TITLE, [Problem(key, "is for an adapter that is folded, and not for a recipe.")])
        if self.recipe.is_of_adapters:
            return self._join_adapters(self.recipe)
        return self._combine(self.recipe)

    def _trained(self) -> Trained | None:
        if self.config is None:
            return None
        if not isinstance(self.rows, str):
            return Trained(self.config, self.rows)
        # its folder has the tokenizer as trained, whatever has become of the model that training started from
        return Trained(self.config, Rows.of_file(self.rows, self.config.replace(model_name=str(self.source))))

    def _combine(self, recipe: MergeRecipe) -> MergeOutcome:
        models = [open_model(each.model, f"models.{n}.model") for n, each in enumerate(recipe.entries)]
        base = None
        if recipe.base_model is not None and recipe.merge_method in BASED:
            base = open_model(recipe.base_model, "base_model")
        opened = [*([base] if base else []), *models]
        require_compatible(opened)
        layers = _layers(opened[0])
        _require_whole_slices(recipe, layers)
        weights = None if base is None else base.weights
        merged = MergedWeights(
            recipe, weights, [each.weights for each in models], Depth(layers), self.writing.seed
        )
        carried = _tokenizer_of(recipe, base, models)
        with new_folder(self.writing.output) as folder:
            outcome = self.writing.write(merged, folder, opened, carried, recipe.merge_method)
            outcome.parameters = recipe.model_dump(exclude_unset=True)
            write_outcome(outcome, folder)
            write_card(folder, outcome, opened)
        return outcome

    def _join_adapters(self, recipe: MergeRecipe) -> MergeOutcome:
        output = self.writing.output
        with new_folder(output) as folder:
            adapters, share = merge_adapters(recipe, folder)
            carry([adapters[0].path], folder)
            inputs = {each.source.name: model_fingerprint(each.path) for each in adapters}
            outcome = MergeOutcome(output, recipe.merge_method, inputs, "float32", share=share)
            outcome.parameters = recipe.model_dump(exclude_unset=True)
            write_outcome(outcome, folder)
        return outcome


def create_model_merger(
    source: str | Path | Mapping[str, Any] | MergeRecipe, output: str | Path, **options: Any
) -> ModelMerger:
    """A merger of ``source``; nothing is loaded before it is used. ``options`` are those of `ModelMerger`."""
    return ModelMerger(source, output, **options)


def _recipe(source: str | Path | Mapping[str, Any] | MergeRecipe) -> MergeRecipe | None:
    if isinstance(source, MergeRecipe):
        return source
    if isinstance(source, Mapping):
        return parse_recipe(dict(source))
    return read_recipe(source) if Path(source).suffix in (".yaml", ".yml") else None


def _tokenizer_of(recipe: MergeRecipe, base: OpenedModel | None, models: list[OpenedModel]) -> OpenedModel:
    """The model whose tokenizer is carried: by default the first, as a base model may have no chat template."""
    by_name = dict(zip((entry.model for entry in recipe.entries), models, strict=True))
    if recipe.base_model is not None:
        by_name["base"] = by_name[recipe.base_model] = base or open_model(recipe.base_model, "base_model")
    wanted = recipe.tokenizer_source
    if wanted is not None and wanted not in by_name:
        message = f"must be one of {', '.join(by_name)}, got {wanted}."
        action = "The vocabularies are equal, so there is none to unite." if wanted == "union" else ""
        raise SpecError(TITLE, [Problem("tokenizer_source", message, action)])
    return models[0] if wanted is None else by_name[wanted]


def _layers(model: OpenedModel) -> int:
    settings = model.config.get("text_config") or model.config
    return int(settings.get("num_hidden_layers") or settings.get("n_layer") or 1)


def _require_whole_slices(recipe: MergeRecipe, layers: int) -> None:
    for each in recipe.slices:
        for number, source in enumerate(each.sources):
            if source.layer_range != [0, layers]:
                where = f"slices.0.sources.{number}.layer_range"
                message = f"must be [0, {layers}], all layers, got {source.layer_range}: none is moved here."
                raise SpecError(TITLE, [Problem(where, message, "Use models in place of slices.")])


def _require_known(key: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        close = nearest(value, known)
        message = f"must be one of {', '.join(known)}, got {value}."
        raise SpecError(TITLE, [Problem(f"--{key}", message, f"Did you mean {close}?" if close else "")])
