# SPDX-License-Identifier: Apache-2.0
"""JobSpec: one run, as a YAML file states it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, Field, PrivateAttr

from tadrib.training.config.common import CommonConfig
from tadrib.training.config.credentials import find_credentials
from tadrib.training.config.locations import inside
from tadrib.training.config.problems.violations import missing_key, show
from tadrib.training.config.registry import METHODS, known_method
from tadrib.training.config.resources import Resources
from tadrib.training.config.rules.adjusters import settle
from tadrib.training.config.rules.conflicts import conflicts
from tadrib.training.config.run_name import NAME_LENGTH, RUN_NAME
from tadrib.training.config.section import FrozenSection, read_section
from tadrib.training.config.types import MAY_CHANGE, Index, LocalPath, Location, MayChange, Positive, marks
from tadrib.training.config.view import View
from tadrib.training.config.yaml.text import to_yaml
from tadrib.training.config.yaml.written import plain
from tadrib.training.errors import Problem, SpecError, nearest


class JobSpec(FrozenSection):
    """One run: a method, its settings, and the workers it wants.

    Built from flat keys, as they stand in YAML: ``JobSpec(method="dpo", name="arabic-dpo", dataset_path=…,
    beta=0.2)``. The method's settings are then at ``spec.config``. Raises SpecError with every problem found.

    A spec is frozen: the driver, every worker and each later launch must mean the same one. ``spec.replace(beta=0.1)``
    gives a changed copy.
    """

    method: Annotated[
        str,
        BeforeValidator(known_method),
        Field(
            examples=["method: sft"],
            json_schema_extra=lambda schema: schema.update(enum=list(METHODS)),
        ),
    ]
    """Training method; it decides which further keys there are."""
    name: Annotated[
        str,
        Field(
            examples=["name: arabic-dpo"],
            json_schema_extra={"pattern": RUN_NAME.pattern, "maxLength": NAME_LENGTH},
        ),
    ]
    """Name of the run and of its directory: lower-case letters, digits and hyphens, at most 40 characters.
    Starting a spec with the same name again continues the run."""
    resources: Annotated[Resources, Field(strict=False), MAY_CHANGE] = Field(default_factory=Resources)
    """Workers that the run asks for; see the keys below."""
    storage_path: Annotated[Location, LocalPath("runs", "all"), MAY_CHANGE] = "./runs"
    """Directory or object-store URL in which the run directory `{storage_path}/{name}` is made."""
    max_failures: Annotated[Index, MAY_CHANGE] = 3
    """Times that training is restarted from its last checkpoint after a worker failed; preemptions do not
    count. A failure that no restart mends, such as a NaN loss or a full GPU, ends the run at once, and one that
    comes back at the same step ends it the second time."""
    hang_factor: Annotated[float, Field(ge=2), MAY_CHANGE] = 20.0
    """A step that takes this many times the median is taken for hung: every worker's stack is written to `logs/`
    and training restarts from its last checkpoint."""
    hang_seconds: Annotated[Positive, MAY_CHANGE] = 120.0
    """Shortest time, in seconds, after which a step is taken for hung; the first steps get ten times as long."""
    engine: Literal["tadrib", "trl"] = "tadrib"
    """What trains: `tadrib`, or the stock trainer of TRL on the same rows, for comparison."""

    _config: CommonConfig = PrivateAttr()

    def __init__(self, **values: Any) -> None:  # else type checkers expect the job's own keys alone
        super().__init__(**values)

    def _accept(self, values: dict[str, Any]) -> None:
        job, config = split_keys(values)
        super()._accept(job)
        self._config = METHODS[self.method].config(**config)

    def replace(self, **changes: Any) -> JobSpec:
        """A copy with keys of the job or of its method's settings changed, validated as a whole. Raises SpecError."""
        return type(self)(**{**self.as_given(), **changes})

    @property
    def config(self) -> CommonConfig:
        """The settings of the method: an instance of ``METHODS[spec.method].config``."""
        return self._config

    @property
    def world_size(self) -> int:
        """Training processes: one for each worker; of an elastic run, the most it can have."""
        return self.resources.max_workers

    @property
    def run_dir(self) -> str:
        """The run directory, ``{storage_path}/{name}``: a path or a URL."""
        return inside(self.storage_path, self.name)

    def paths(self) -> Iterator[tuple[str, str, LocalPath]]:
        yield from self._config.paths()
        yield from super().paths()

    @property
    def changeable(self) -> set[str]:
        """The keys that a later start of the run may set to other values."""
        return {key for section in (type(self), type(self._config)) for key in marks(section, MayChange)}

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[Problem]:
        """All that is wrong with a flat mapping: credentials, keys and types, then rules on whatever
        parsed."""
        secrets = list(find_credentials(dict(values)))
        job, config = split_keys(values)
        job_reading = read_section(cls, job)
        method = job.get("method")
        config_class = _config_class(method, meant=nearest(str(method), METHODS))
        own, foreign = _foreign_keys(config, config_class, method)
        reading = read_section(config_class, own, known=spec_keys(config_class))
        named = [key for key in ("dataset_path", "datasets") if config.get(key)]
        missing = [] if named else [_DATASET_MISSING]
        found = [*secrets, *job_reading.problems, *missing, *foreign, *reading.problems]
        view = _with_facts(job_reading.view.joined(reading.view))
        return [*_once_per_secret(found, secrets), *conflicts(view)]

    def view(self) -> View:
        return _with_facts(super().view().joined(self._config.view()))

    def as_given(self) -> dict[str, Any]:
        """The flat mapping of what was set, defaults left out; ``parse_spec`` of it gives an equal spec."""
        config = self._config.model_dump(exclude_unset=True)
        return {"method": self.method, "name": self.name, **config} | self.model_dump(exclude_unset=True)

    def to_mapping(self) -> dict[str, Any]:
        """The resolved spec, complete and flat: every key of the method with the value the run uses."""
        settled, _ = settle(self.view())
        config = {key: settled[key] for key in self._config.model_dump()}
        if self._config.datasets:
            del config["dataset_path"]
        config["datasets"] = [source.model_dump(exclude_unset=True) for source in self._config.datasets]
        job = self.model_dump()
        return {"method": job.pop("method"), "name": job.pop("name"), **config, **job}

    def to_yaml(self) -> str:
        """``to_mapping`` as YAML; loading it gives the resolved spec again."""
        return to_yaml(self.to_mapping())

    def with_config(self, config: CommonConfig) -> JobSpec:
        """The same job with other settings of its method; they are taken as they are."""
        copy = self.model_copy()
        copy._config = config
        return copy


def parse_spec(mapping: Any, source: str = "spec", problems: Iterable[Problem] = ()) -> JobSpec:
    """The spec that a flat mapping states. Raises SpecError, titled ``source``, with all problems found;
    ``problems`` are those that reading the mapping already found."""
    if not isinstance(mapping, Mapping):
        action = "Start with method, name and dataset_path."
        raise SpecError(source, [*problems, Problem("", "must be a mapping of keys to values.", action)])
    values = {key if isinstance(key, str) else show(key): value for key, value in mapping.items()}
    found = [*problems, *JobSpec.problems(values)]
    if found:
        raise SpecError(source, found)
    return JobSpec(**plain(values))


def split_keys(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys of the job itself, and all others, which belong to the method's config."""
    job = {key: value for key, value in values.items() if key in JobSpec.model_fields}
    return job, {key: value for key, value in values.items() if key not in job}


def holds_text(method: Any, key: str) -> bool:
    """Whether a key of a spec of ``method`` holds a text of any kind, such as a name or a path, and no list of them."""
    fields = {**_config_class(method).model_fields, **JobSpec.model_fields}
    return key in fields and str in _members(fields[key].annotation)


def _config_class(method: Any, meant: str | None = None) -> type[CommonConfig]:
    """The settings of ``method``, or else of the method ``meant``; those of every method where neither is one."""
    found = METHODS.get(str(method)) or METHODS.get(meant or "")
    return found.config if found else CommonConfig


def _members(annotation: Any) -> set[Any]:
    """The types that a value may have by ``annotation``: those of a union, without what annotates them."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_members, get_args(annotation)))
    return {annotation}


def spec_keys(config_class: type[CommonConfig]) -> list[str]:
    """Every dotted key that a spec of this method may have."""
    job = [key for key in JobSpec.model_fields if key != "resources"]
    config = [key for key, field in config_class.model_fields.items() if not field.exclude]
    return [*job, *config, "resources", *(f"resources.{key}" for key in Resources.model_fields)]


_DATASET_MISSING = missing_key("dataset_path", "Example: dataset_path: data/train.jsonl.")


def _foreign_keys(
    config: dict[str, Any], config_class: type[CommonConfig], method: Any
) -> tuple[dict[str, Any], list[Problem]]:
    """Split off the keys that only Python or another method has, with a problem for each."""
    own, foreign = {key: value for key, value in config.items() if (key, value) != ("dataset_path", None)}, []
    for key in config:
        owners = [name for name, each in METHODS.items() if key in each.config.model_fields]
        if key == "callbacks":
            foreign.append(
                Problem(key, "holds Python objects and is not a key of a spec.", "Set it from Python.")
            )
        elif not owners or key in config_class.model_fields:
            continue
        elif config_class is not CommonConfig:
            action = f"Remove it, or use one of these methods: {', '.join(owners)}."
            foreign.append(Problem(key, f"not a key of method {method}.", action))
        own.pop(key, None)
    return own, foreign


def _with_facts(view: View) -> View:
    """Add what the spec says of the run; whether a GPU has bfloat16 is known only where the run runs."""
    view = view.with_eval_data().with_run_directory()
    if "resources.gpus_per_worker" not in view.values:
        return view
    gpus = view["resources.gpus_per_worker"]
    return view.with_device("cuda" if gpus else "cpu", f"resources.gpus_per_worker is {gpus}")


def _once_per_secret(found: list[Problem], secrets: list[Problem]) -> list[Problem]:
    """A key refused as a credential is not also reported as unknown."""
    places = {problem.where for problem in secrets}
    return [problem for problem in found if problem in secrets or problem.where not in places]
