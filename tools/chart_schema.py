# SPDX-License-Identifier: Apache-2.0
"""Make the generated files of the charts: values.yaml and values.schema.json, from the classes of
tools/chart_values.py and the schema of a spec, and the patterns by which credentials are refused.

``python -m tools.chart_schema`` writes them; with ``--check`` it writes nothing and exits 1 where one differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from tadrib.training.redaction import ORDINARY_NAME, SECRET_NAME, SECRET_TEXT
from tools.chart_values import RayClusterValues, TrainingJobValues
from tools.generated import write_or_check
from tools.platform_settings import Section
from tools.spec_schema import spec_schema, tidy

COMMAND = "python -m tools.chart_schema"
FOLDER = Path(__file__).parents[1] / "charts"
CHARTS: dict[str, type[Section]] = {"training-job": TrainingJobValues, "ray-cluster": RayClusterValues}

Schema = dict[str, Any]

_SECRETS = f"""{{{{/* SPDX-License-Identifier: Apache-2.0 */}}}}
{{{{/* What a credential looks like, from training/redaction.py; a text that is none gives nothing.
     Written by `{COMMAND}`. */}}}}

{{{{- define "tadrib.isSecretName" -}}}}
{{{{- if and (regexMatch `{SECRET_NAME}` .) (not (regexMatch `{ORDINARY_NAME}` .)) }}}}yes{{{{ end -}}}}
{{{{- end -}}}}

{{{{- define "tadrib.hasSecret" -}}}}
{{{{- if regexMatch `{SECRET_TEXT}` . }}}}yes{{{{ end -}}}}
{{{{- end -}}}}
"""


def values_schema(values: type[Section]) -> Schema:
    """JSON schema (draft-07) of a values file: strict everywhere, `global` alone free; a job's spec is held to the
    schema of specs."""
    schema = _strict(tidy(values.model_json_schema()))
    definitions = schema.setdefault("$defs", {})
    if "Job" in definitions:
        spec = spec_schema()
        definitions |= spec.pop("$defs")
        del spec["$schema"]
        definitions["Spec"] = spec
        definitions["Job"]["properties"]["spec"] = {"$ref": "#/$defs/Spec"}
    schema["properties"]["global"] = {"type": "object", "description": "Values for all charts of a release."}
    schema["properties"]["tadrib-library"] = {
        "type": "object",
        "description": "Helm's own key for the library chart.",
    }
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema}


def _strict(value: Any) -> Any:
    """Hold the keys of mappings to their pattern."""
    if isinstance(value, list):
        return [_strict(each) for each in value]
    if not isinstance(value, dict):
        return value
    strict = {key: _strict(inner) for key, inner in value.items()}
    return {**strict, "additionalProperties": False} if "patternProperties" in strict else strict


def values_yaml(values: type[Section]) -> str:
    """The defaults of a chart as YAML, each under its description."""
    title = " ".join((values.__doc__ or "").split())
    return f"# SPDX-License-Identifier: Apache-2.0\n# {title} Written by `{COMMAND}`.\n\n" + "\n".join(
        _lines(values(), 0)
    )


def _lines(section: BaseModel, depth: int) -> list[str]:
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        indent = "  " * depth
        description = field.description or (type(value).__doc__ if isinstance(value, Section) else None)
        if description and not description.startswith("Usage"):
            lines += [f"{indent}# -- {line}" for line in [" ".join(description.split())]]
        if isinstance(value, Section):
            lines += [f"{indent}{name}:", *_lines(value, depth + 1)]
        else:
            lines += [indent + line for line in _dump({name: _plain(value)})]
        if depth == 0:
            lines.append("")
    return lines


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else value


def _dump(mapping: dict[str, Any]) -> list[str]:
    return yaml.safe_dump(mapping, sort_keys=False, width=200).rstrip().splitlines()


def generated(folder: Path) -> dict[Path, str]:
    """Each generated file of the charts in ``folder`` and its text."""
    files = {}
    for chart, values in CHARTS.items():
        files[folder / chart / "values.yaml"] = values_yaml(values)
        schema = json.dumps(values_schema(values), indent=2, ensure_ascii=False) + "\n"
        files[folder / chart / "values.schema.json"] = schema
    files[folder / "tadrib-library" / "templates" / "_secrets.tpl"] = _SECRETS
    return files


def main(arguments: list[str] | None = None) -> int:
    """Write or check the generated files; returns the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write the charts' values and schemas.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    parser.add_argument(
        "--charts", type=Path, default=FOLDER, help="folder of the charts (default: this one)"
    )
    options = parser.parse_args(arguments)
    return write_or_check(generated(options.charts), check=options.check, command=COMMAND)


if __name__ == "__main__":
    sys.exit(main())
