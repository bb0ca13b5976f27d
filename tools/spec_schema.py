# SPDX-License-Identifier: Apache-2.0
"""Schema: the JSON schema of a spec, generated from the config classes, and the command that keeps docs/ in
step.

``python -m tools.spec_schema`` writes ``docs/spec.schema.json`` and ``docs/spec-reference.md``; with
``--check`` it writes nothing and exits 1 where one of them differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tadrib.training.config.common import CommonConfig
from tadrib.training.config.registry import METHODS
from tadrib.training.config.spec import JobSpec
from tools.generated import write_or_check
from tools.spec_reference import spec_reference

COMMAND = "python -m tools.spec_schema"
REQUIRED = ["method", "name"]
ROWS = ["dataset_path", "datasets"]
"""One of these is required, too."""

Schema = dict[str, Any]


def spec_schema() -> Schema:
    """JSON schema (draft-07, which Helm of every version reads) of a flat spec: strict, with one branch per
    method.

    Rules across several settings are not in it; ``parse_spec`` checks those.
    """
    job = tidy(JobSpec.model_json_schema())
    methods = {name: _method_properties(method.config) for name, method in METHODS.items()}
    names = list(dict.fromkeys(key for properties in methods.values() for key in properties))
    shared = {key: schema for key in names if (schema := _agreed(key, methods)) is not None}
    branches = []
    for name, properties in methods.items():
        own = {key: True if key in shared else schema for key, schema in properties.items()}
        allowed = {**dict.fromkeys(job["properties"], True), **own}
        branches.append(
            {
                "if": {"properties": {"method": {"const": name}}, "required": ["method"]},
                "then": {"properties": allowed, "additionalProperties": False},
            }
        )
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "tadrib spec",
        "description": "One fine-tuning run.",
        "type": "object",
        "required": REQUIRED,
        "anyOf": [{"required": [key]} for key in ROWS],
        "additionalProperties": False,
        "properties": {**job["properties"], **{key: shared.get(key, True) for key in names}},
        "allOf": branches,
        "$defs": {**job["$defs"], **tidy(CommonConfig.model_json_schema())["$defs"]},
    }


def _method_properties(config: type[CommonConfig]) -> Schema:
    """The schema of each key of a method that a spec may set."""
    properties = tidy(config.model_json_schema())["properties"]
    for key, field in config.model_fields.items():
        if field.exclude:
            del properties[key]
        elif field.default_factory:  # pydantic leaves these defaults out
            properties[key]["default"] = field.get_default(call_default_factory=True)
    del properties["dataset_path"]["default"]  # a spec has to name it
    return properties


def _agreed(key: str, methods: dict[str, Schema]) -> Schema | None:
    """The schema of ``key`` if all methods that have it agree, else None."""
    found = [properties[key] for properties in methods.values() if key in properties]
    return found[0] if all(schema == found[0] for schema in found) else None


def tidy(value: Any) -> Any:
    """A schema without its titles, which only repeat the keys, and with the lines of descriptions joined."""
    if isinstance(value, list):
        return [tidy(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, inner in value.items():
        if key == "title" and isinstance(inner, str):
            continue
        joined = key == "description" and isinstance(inner, str)
        kept[key] = " ".join(inner.split()) if joined else tidy(inner)
    return kept


def main(arguments: list[str] | None = None) -> int:
    """Write or check the generated files; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Write the spec's JSON schema and reference page."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the files are (default: docs)")
    options = parser.parse_args(arguments)
    files = {
        options.docs / "spec.schema.json": json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n",
        options.docs / "spec-reference.md": spec_reference(),
    }
    return write_or_check(files, check=options.check, command=COMMAND)


if __name__ == "__main__":
    sys.exit(main())
