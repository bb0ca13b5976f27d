# SPDX-License-Identifier: Apache-2.0
"""CRD schemas as strict JSON schemas, from the CustomResourceDefinition files in $CRD_DIR (../shared/crds otherwise).

They are megabytes of other projects and are not kept here: kuberay v1.7.0, helm-chart/kuberay-operator/crds, and
kueue v0.19.2, config/components/crd/bases.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.charts.helm import ROOT

CRD_DIR = Path(os.environ.get("CRD_DIR") or ROOT.parent / "shared" / "crds")
GROUPS = ("ray.io", "kueue.x-k8s.io")


@cache
def _validators() -> dict[tuple[str, str], jsonschema.Draft7Validator]:
    found = {}
    for path in sorted(CRD_DIR.glob("*.yaml")):
        crd = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
        for version in crd["spec"]["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            # a CRD says nothing of metadata, which the API server checks itself
            schema["properties"]["metadata"] = {"type": "object"}
            found[f"{group}/{version['name']}", kind] = jsonschema.Draft7Validator(schema)
    return found


def _strict(schema: Any) -> Any:
    """A structural schema that refuses keys it does not list, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        strict.pop("type", None)
        strict["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    if schema.get("nullable") and "type" in strict:
        strict["type"] = [strict["type"], "null"]
    return strict


def crd_errors(thing: dict[str, Any]) -> list[str]:
    """What the CRD of an object has against it; the test is skipped where the CRDs are not at hand."""
    if not CRD_DIR.is_dir():
        pytest.skip(f"no CRDs in {CRD_DIR}: set $CRD_DIR to a folder with those of KubeRay and Kueue")
    validator = _validators().get((thing["apiVersion"], thing["kind"]))
    if validator is None:
        return [f"no CRD for {thing['apiVersion']} {thing['kind']}"]
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(thing)]
