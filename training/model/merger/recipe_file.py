# SPDX-License-Identifier: Apache-2.0
"""Read a recipe from ``merge.yaml`` or a mapping, and say everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tadrib.training.config.problems.violations import show
from tadrib.training.config.yaml.file import parse_file, read_text
from tadrib.training.errors import Problem, SpecError, nearest
from tadrib.training.model.merger.recipe import NEED_BASE, Entry, MergeRecipe, Slice, Source
from tadrib.training.model.merger.settings import PARAMETERS, PER_MODEL, REQUIRED, Settings

_ESSENTIAL = {"merge_method", "models", "slices", "parameters", "base_model"}
"""Keys without which nothing can be said of the others."""


def read_recipe(file: str | Path) -> MergeRecipe:
    """The recipe in a YAML file. Raises SpecError with everything that is wrong with it."""
    value, problems = parse_file(read_text(file), str(file))
    return parse_recipe(value, str(file), problems)


def parse_recipe(value: Any, title: str = "the recipe", problems: Sequence[Problem] = ()) -> MergeRecipe:
    """The recipe in a mapping. Raises SpecError with everything that is wrong with it, after ``problems``."""
    found = list(problems)
    recipe = None
    try:
        recipe = MergeRecipe.model_validate(value)
    except ValidationError as error:
        found += _violations(error)
        wrong = {entry["loc"][0] for entry in error.errors() if entry["loc"]}
        if isinstance(value, dict) and not wrong & _ESSENTIAL:
            recipe = MergeRecipe.model_validate(
                {key: each for key, each in value.items() if key not in wrong}
            )
    found += [] if recipe is None else _conflicts(recipe)
    if found or recipe is None:
        raise SpecError(title, found)
    return recipe


def _violations(error: ValidationError) -> Iterator[Problem]:
    seen = set()
    for entry in error.errors():
        path = [str(step) for step in entry["loc"] if not str(step).startswith(("list[", "function-"))]
        where = ".".join(path)
        if where in seen:
            continue
        seen.add(where)
        if entry["type"] == "extra_forbidden":
            known = _keys_beside(path)
            close = nearest(path[-1], known)
            action = f"Did you mean {close}?" if close else f"Known are: {', '.join(known)}."
            yield Problem(where, "unknown key.", action)
        elif entry["type"] == "missing":
            yield Problem(where, "required, but not set.", f"Add {path[-1]}.")
        elif entry["type"] == "literal_error":
            options = [word.strip(" '") for word in entry["ctx"]["expected"].replace(" or ", ", ").split(",")]
            close = nearest(str(entry["input"]), options)
            action = f"Did you mean {close}?" if close else ""
            yield Problem(where, f"must be one of {', '.join(options)}, got {show(entry['input'])}.", action)
        elif where == "slices" and entry["type"] == "too_long":
            yield Problem(where, "several slices rearrange layers, which is not done here.", "Use `models`.")
        else:
            yield Problem(where, f"{entry['msg']}, got {show(entry['input'])}.")


def _keys_beside(path: list[str]) -> list[str]:
    part: type[BaseModel] = MergeRecipe
    if path[0] == "models":
        part = Entry
    elif path[0] == "slices":
        part = Source if "sources" in path[:-1] else Slice
    return list(part.model_fields)


def _conflicts(recipe: MergeRecipe) -> Iterator[Problem]:
    method, entries = recipe.merge_method, recipe.entries
    if bool(recipe.models) == bool(recipe.slices):
        yield Problem(
            "models", "give either models or slices, and not both.", "List what to merge under models."
        )
        return
    if method in NEED_BASE and recipe.base_model is None:
        yield Problem(
            "base_model", f"required for {method}, but not set.", "Name the model they started from."
        )
    wanted = 1 if method == "slerp" else 2 if method == "nuslerp" else None
    if wanted is not None and len(entries) != wanted:
        also = " beside base_model" if method == "slerp" else ""
        yield Problem("models", f"{method} takes {wanted}{also}, got {len(entries)}.", "Use linear for more.")
    elif not entries:
        yield Problem(
            "models", "there is nothing to merge with the base model.", "List the fine-tuned models."
        )
    yield from _parameter_problems(recipe, "parameters", recipe.parameters, shared=True)
    for part in ("models", "slices"):
        for number, each in enumerate(getattr(recipe, part)):
            yield from _parameter_problems(
                recipe, f"{part}.{number}.parameters", each.parameters, part == "slices"
            )
    for number, source in enumerate(source for each in recipe.slices for source in each.sources):
        at = f"slices.0.sources.{number}.parameters"
        yield from _parameter_problems(recipe, at, source.parameters, shared=False)
    for key, default in PARAMETERS[method].items():
        if default is REQUIRED and any(key not in scope for scope in _reach(recipe, key)):
            example = f"parameters: {{{key}: {'16' if key == 'rank' else '0.5'}}}"
            yield Problem(f"parameters.{key}", f"required for {method}, but not set.", f"Write {example}.")


def _reach(recipe: MergeRecipe, key: str) -> list[dict[str, Any]]:
    """What is set for each model (or for all, for a shared parameter)."""
    common = {**recipe.parameters, **{k: v for each in recipe.slices for k, v in each.parameters.items()}}
    return [{**common, **entry.parameters} for entry in recipe.entries] if key in PER_MODEL else [common]


def _parameter_problems(recipe: MergeRecipe, where: str, given: Settings, shared: bool) -> Iterator[Problem]:
    known = [key for key in PARAMETERS[recipe.merge_method] if shared or key in PER_MODEL]
    for key, value in given.items():
        if key not in known:
            close = nearest(key, known)
            action = f"Did you mean {close}?" if close else f"It has: {', '.join(known)}."
            yield Problem(f"{where}.{key}", f"{recipe.merge_method} has no such parameter here.", action)
            continue
        for number in _numbers(value):
            if key == "density" and not 0 < number <= 1:
                yield Problem(f"{where}.{key}", f"must be above 0 and at most 1, got {show(number)}.")
            elif key == "t" and not 0 <= number <= 1:
                yield Problem(f"{where}.{key}", f"must be from 0 (base_model) to 1, got {show(number)}.")
            elif key == "rank" and (not isinstance(number, int) or number < 1):
                yield Problem(f"{where}.{key}", f"must be a whole number of at least 1, got {show(number)}.")
            elif key == "nuslerp_flatten" and number is not True:
                message = "tensors are always interpolated as one vector here."
                yield Problem(f"{where}.{key}", message, "Leave it out.")


def _numbers(setting: Any) -> Iterator[Any]:
    for each in setting if isinstance(setting, list) else [setting]:
        yield from _numbers(each.value) if hasattr(each, "value") else [each]
