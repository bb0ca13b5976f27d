# SPDX-License-Identifier: Apache-2.0
"""Release: one run as a Helm release of the same name, with the spec's text and the values of a platform."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tadrib.ray_jobs.kube.helm import find_chart, helm
from tadrib.training.config import JobSpec
from tadrib.training.config.loading import apply_overrides, load_text
from tadrib.training.config.yaml.file import parse_file, read_text
from tadrib.training.config.yaml.text import to_yaml
from tadrib.training.errors import Problem, SpecError
from tadrib.training.files.regular_file import read_regular

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Release:
    """A validated spec, its text as the pod reads it, and values files for the chart, of which later ones take
    precedence."""

    spec: JobSpec
    text: str
    namespace: str
    context: str | None
    values: tuple[Path, ...]
    own_values: Object

    @property
    def name(self) -> str:
        return self.spec.name

    def render(self) -> str:
        """The manifests that Helm would apply. Raises SpecError for values that the chart refuses."""
        with self._arguments() as arguments:
            return helm("template", *arguments, "--api-versions", "ray.io/v1")

    def apply(self) -> None:
        """Install the release, or upgrade it, which creates a new RayJob that resumes the run."""
        context = ["--kube-context", self.context] if self.context else []
        with self._arguments() as arguments:
            helm("upgrade", "--install", *arguments, *context)

    @contextmanager
    def _arguments(self) -> Iterator[list[str]]:
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder) / "run.yaml"
            own.write_text(to_yaml(self.own_values), encoding="utf-8")
            files = [part for path in (*self.values, own) for part in ("--values", str(path))]
            yield [self.name, find_chart(), "--namespace", self.namespace, *files]


def read_release(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    namespace: str,
    context: str | None = None,
    values: Sequence[Path] = (),
    queue: str | None = None,
) -> Release:
    """Validate the spec, and what the values files say of its run. Raises SpecError.

    The file's text is kept as it is; with ``overrides`` it is written again from its keys. ``queue`` is the name of the
    queue, which is Kueue's unless the values name another kind.
    """
    given = read_text(path)
    spec = load_text(given, str(path), overrides)
    text = _with(overrides, given, str(path)) if overrides else given
    own: Object = {"jobs": {spec.name: {"specFile": text}}}
    kinds = [_queue_kind(_read_values(file, spec.name)) for file in values]
    if queue is not None:
        kind = next((kind for kind in reversed(kinds) if kind not in (None, "none")), "kueue")
        own["platform"] = {"queue": {"kind": kind, "name": queue}}
    return Release(spec, text, namespace, context, tuple(values), own)


def objects_of(text: str) -> list[Object]:
    """The objects in rendered YAML, without Helm hooks such as those of `helm test`."""
    found = [each for each in yaml.safe_load_all(text) if each]
    return [each for each in found if "helm.sh/hook" not in (each["metadata"].get("annotations") or {})]


def _with(overrides: Sequence[str], text: str, title: str) -> str:
    mapping, _ = parse_file(text, title)
    apply_overrides(mapping, overrides)
    return to_yaml(mapping)


def _read_values(path: Path, run: str) -> Object:
    """The values of the platform. Other runs in the file are refused, as they would be installed too."""
    try:
        value = yaml.safe_load(read_regular(path).decode()) or {}
    except OSError as error:
        action = "Give --values the YAML file of the platform's settings."
        raise SpecError(str(path), [Problem("", f"cannot be read: {error.strerror}.", action)]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(
            str(path), [Problem("", f"not valid YAML: {' '.join(str(error).split())}.")]
        ) from None
    if not isinstance(value, dict):
        raise SpecError(str(path), [Problem("", "must be a mapping with the key platform.")])
    others = sorted(
        name for name, job in (value.get("jobs") or {}).items() if name != run or "spec" in (job or {})
    )
    if others:
        action = "Keep only `platform` in it, or install the file with `helm install`."
        message = f"contains {', '.join(others)}, but one run is submitted at a time, from its own file."
        raise SpecError(str(path), [Problem("jobs", message, action)])
    return value


def _queue_kind(values: Object) -> str | None:
    queue = (values.get("platform") or {}).get("queue") or {}
    return queue.get("kind") if isinstance(queue, dict) else None
