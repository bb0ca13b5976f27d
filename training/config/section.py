# SPDX-License-Identifier: Apache-2.0
"""Section: the base of all settings classes; it reports every problem at once, as SpecError, and stays
valid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tadrib.training.config.credentials import find_credentials
from tadrib.training.config.problems.violations import meant_key, missing_key, unknown_key, violation
from tadrib.training.config.rules.conflicts import conflicts
from tadrib.training.config.types import LocalPath, marks
from tadrib.training.config.view import View
from tadrib.training.errors import Problem, SpecError
from tadrib.training.redaction import is_secret_name


class Section(BaseModel):
    """Settings that are checked on construction and on each assignment; a refused assignment changes
    nothing."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        validate_assignment=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        defer_build=True,
    )
    key_prefix: ClassVar[str] = ""
    facts: ClassVar[Mapping[str, Any]] = {}
    """What the class itself says of the run, by the names that `View` has for it."""

    def __init__(self, **values: Any) -> None:
        problems = type(self).problems(values)
        if problems:
            raise SpecError(type(self).__name__, problems)
        self._accept(values)

    def _accept(self, values: dict[str, Any]) -> None:
        super().__init__(**values)

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[Problem]:
        """All that is wrong with ``values``: keys and types first, then rules on whatever parsed."""
        reading = read_section(cls, values)
        return [*find_credentials(dict(values)), *reading.problems, *conflicts(reading.view)]

    def view(self) -> View:
        """The settings as rules see them, with nested sections flattened to dotted keys."""
        return _view_of(self, ())

    def paths(self) -> Iterator[tuple[str, str, LocalPath]]:
        """Key, value and mark of each setting that may be a path, where it is set."""
        for key, mark in marks(type(self), LocalPath).items():
            if (value := getattr(self, key)) is not None:
                yield key, value, mark

    def replace(self, **changes: Any) -> Self:
        """A copy with several settings changed together, checked as a whole.

        Use it where single assignments would pass through a state that a rule refuses. Raises SpecError.
        """
        given = {key: getattr(self, key) for key in self.model_fields_set}
        return type(self)(**{**given, **changes})

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
            return
        where = f"{self.key_prefix}{name}"
        if name not in type(self).model_fields:
            self._refuse([unknown_key(where, _keys(type(self)))])
        before, given_before = dict(self.__dict__), set(self.__pydantic_fields_set__)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            accepts = partial(_accepts, type(self), name)
            self._refuse([violation(entry, value, where, accepts) for entry in error.errors()])
        problems = [*find_credentials({where: value}), *conflicts(self.view())]
        if problems:
            self.__dict__.update(before)
            object.__setattr__(self, "__pydantic_fields_set__", given_before)
            self._refuse(problems)

    def _refuse(self, problems: list[Problem]) -> None:
        raise SpecError(type(self).__name__, problems) from None


class FrozenSection(Section):
    """Settings that never change: `replace` gives a changed copy."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).model_fields:
            action = f"Make a changed copy: replace({name}=…)."
            self._refuse([Problem(f"{self.key_prefix}{name}", "cannot be changed.", action)])
        super().__setattr__(name, value)


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be read of a mapping: a view of the values that parsed, and the problems of those that did
    not."""

    view: View
    problems: list[Problem]


def read_section(
    section: type[Section], raw: Mapping[str, Any], known: Iterable[str] | None = None
) -> Reading:
    """Check ``raw`` key by key against ``section``, so that one bad value hides no other.

    ``known`` are the keys to suggest for an unknown one; by default those of the section.
    """
    known = _keys(section) if known is None else list(known)
    blank = section.model_construct()
    problems: list[Problem] = []
    bad: set[str] = set()
    nested_views: list[View] = []
    for key, value in raw.items():
        nested = _nested_section(section, key)
        if key not in section.model_fields:
            problems.append(_unknown(section, key, value, known))
        elif nested and isinstance(value, Mapping):
            reading = read_section(nested, value)
            problems += reading.problems
            nested_views.append(reading.view)
            bad.add(key)
        else:
            wrong = _violations(blank, key, value)
            problems += wrong
            bad |= {key} if wrong else set()
    for key, field in section.model_fields.items():
        if field.is_required() and key not in raw:
            problems.append(missing_key(f"{section.key_prefix}{key}", _example(field)))
            bad.add(key)
    view = _view_of(blank, bad)
    for inner in nested_views:
        view = view.joined(inner)
    return Reading(view, problems)


def _violations(section: Section, key: str, value: Any) -> list[Problem]:
    """Set ``key`` of ``section`` without its rules; what is wrong with the kind of ``value``, which is then not set."""
    kind = type(section)
    try:
        section.__pydantic_validator__.validate_assignment(section, key, value)
    except ValidationError as error:
        accepts = partial(_accepts, kind, key)
        return [violation(each, value, f"{kind.key_prefix}{key}", accepts) for each in error.errors()]
    return []


def _accepts(kind: type[Section], key: str, value: Any) -> bool:
    try:
        kind.__pydantic_validator__.validate_assignment(kind.model_construct(), key, value)
    except ValidationError:
        return False
    return True


def _unknown(section: type[Section], key: Any, value: Any, known: list[str]) -> Problem:
    """The problem of an unknown key, and what is wrong with its value for the key that was probably meant."""
    where = f"{section.key_prefix}{key}"
    problem = unknown_key(where, known)
    meant = (meant_key(where, known) or "").removeprefix(section.key_prefix)
    if meant not in section.model_fields or is_secret_name(where):
        return problem
    wrong = _violations(section.model_construct(), meant, value)
    return replace(problem, action=f"{problem.action} It {wrong[0].message}") if wrong else problem


def _view_of(section: Section, without: Iterable[str]) -> View:
    values: dict[str, Any] = dict(section.facts)
    given: set[str] = set()
    nested: list[View] = []
    skipped = set(without)
    for key in type(section).model_fields:
        if key in skipped:
            continue
        value = getattr(section, key)
        if isinstance(value, Section):
            nested.append(value.view())
            continue
        values[f"{section.key_prefix}{key}"] = value
        if key in section.model_fields_set:
            given.add(f"{section.key_prefix}{key}")
    view = View(values, frozenset(given), _defaults(type(section)))
    for inner in nested:
        view = view.joined(inner)
    return view


@cache
def _defaults(section: type[Section]) -> dict[str, Any]:
    """The default of each field that has one."""
    return {
        f"{section.key_prefix}{key}": field.get_default(call_default_factory=True)
        for key, field in section.model_fields.items()
        if not field.is_required()
    }


def _nested_section(section: type[Section], key: str) -> type[Section] | None:
    field = section.model_fields.get(key)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _keys(section: type[Section]) -> list[str]:
    return [f"{section.key_prefix}{key}" for key in section.model_fields]


def _example(field: Any) -> str:
    return f"Example: {field.examples[0]}." if field.examples else "Add it."
