# SPDX-License-Identifier: Apache-2.0
"""YAML file: reading one as YAML 1.2 (`2e-4` is a number, `no` is text), with duplicate keys and aliases
refused."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from tadrib.training.config.credentials import find_credentials_in_comments
from tadrib.training.config.yaml.text_file import read_bytes
from tadrib.training.config.yaml.written import written
from tadrib.training.errors import Problem, SpecError, clip
from tadrib.training.redaction import redact

MAX_BYTES = 100_000
_MAX_DEPTH = 10
_MAX_DIGITS = 400  # beyond any number that a spec has a place for, and short of what Python refuses to print


_TAG = "tag:yaml.org,2002:"
CORE_TYPES = tuple(
    (f"{_TAG}{name}", re.compile(rf"^(?:{pattern})$"), first)
    for name, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
        (
            "float",
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
            list("-+.0123456789"),
        ),
    )
)
"""Tag, pattern and first characters of the texts that YAML 1.2 reads as another type where they are not quoted."""

_PATTERNS = {tag: pattern for tag, pattern, _ in CORE_TYPES}
_TAGS = {*_PATTERNS, *(f"{_TAG}{name}" for name in ("str", "seq", "map"))}


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader with the core schema of YAML 1.2.2, section 10.3.2, in place of the 1.1 types."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            message = "aliases (*name) are not read; write the value out"
            raise yaml.composer.ComposerError(None, None, message, self.peek_event().start_mark)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            message = f"nested too deeply, more than {_MAX_DEPTH} levels"
            raise yaml.composer.ComposerError(None, None, message, self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A tag that was written out may name a type that the core schema lacks, or that the text is none of."""
        if node.tag not in _TAGS:
            raise _refused(node, f"the tag {clip(node.tag)} is not read; write the value without it")
        pattern = _PATTERNS.get(node.tag)
        if pattern is not None and isinstance(node, yaml.ScalarNode):
            if not pattern.fullmatch(node.value):
                raise _refused(node, f"{clip(redact(node.value))!r} is no {node.tag.removeprefix(_TAG)}")
            if len(node.value) > _MAX_DIGITS:
                raise _refused(node, f"a number of {len(node.value):,} characters is not read")
        return super().construct_object(node, deep)


def _refused(node: yaml.Node, message: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)


for _tag, _pattern, _first in CORE_TYPES:
    _CoreLoader.add_implicit_resolver(_tag, _pattern, _first)


def _construct_number(loader: _CoreLoader, node: yaml.ScalarNode) -> int | float:
    is_int = node.tag == "tag:yaml.org,2002:int"
    return written((loader.construct_yaml_int if is_int else loader.construct_yaml_float)(node), node.value)


for _tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
    _CoreLoader.add_constructor(_tag, _construct_number)


def parse_yaml(text: str) -> tuple[Any, list[Problem]]:
    """The one document in ``text``, and a problem for each key written twice (the last one counts). Numbers in it
    remember how they were written (`training.config.yaml.written`).

    Raises ``yaml.YAMLError`` where ``text`` is not YAML.
    """
    try:
        loader = _CoreLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character U+{error.character:04X} in line {line} is not allowed"
        raise yaml.YAMLError(message) from None
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        return loader.construct_document(node), _duplicates(node, "")
    finally:
        loader.dispose()


def parse_file(text: str, title: str) -> tuple[Any, list[Problem]]:
    """``parse_yaml`` of the text of the file ``title``. Raises SpecError where it is not YAML."""
    try:
        value, problems = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        message = f"not valid YAML: {getattr(error, 'problem', None) or error}."
        raise SpecError(title, [Problem(where, message, _cure(text))]) from None
    if value is None:
        raise SpecError(
            title, [Problem("", "the file is empty.", "Start with method, name and dataset_path.")]
        )
    return value, [*problems, *find_credentials_in_comments(text)]


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, its line ends as they are. Raises SpecError where there is none."""
    title = str(path)
    try:
        return read_bytes(Path(path), MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        message = f"not UTF-8: byte 0x{error.object[error.start]:02x}."
        raise SpecError(title, [Problem(f"line {line}", message, "Save the file as UTF-8.")]) from None
    except OSError as error:
        action = "Check the path; it is relative to the current directory."
        message = f"cannot be read: {error.strerror}."
        if error.errno == errno.EFBIG:
            message, action = (
                f"{error.strerror} are too many for a spec.",
                "Is this the dataset? Its place is dataset_path.",
            )
        raise SpecError(title, [Problem("", message, action)]) from None


def _cure(text: str) -> str:
    if "\t" in text:
        return "Indent with spaces; YAML allows no tabs there."
    return "Text with ': ', '#' or a leading '*', '&', '@' or '%' needs quotes."


def _duplicates(node: yaml.Node, path: str) -> list[Problem]:
    problems: list[Problem] = []
    if isinstance(node, yaml.SequenceNode):
        for position, child in enumerate(node.value):
            problems += _duplicates(child, f"{path}[{position}]")
    if not isinstance(node, yaml.MappingNode):
        return problems
    lines: dict[str, int] = {}
    for key, child in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        where, line = f"{path}.{name}" if path else name, key.start_mark.line + 1
        if name in lines:
            problems.append(Problem(where, f"set twice, in lines {lines[name]} and {line}.", "Keep one."))
        lines[name] = line
        problems += _duplicates(child, where)
    return problems
