# SPDX-License-Identifier: Apache-2.0
"""One source: the chart reads the spec and carries it; what the launcher would do and what the chart renders agree."""

from __future__ import annotations

import json
import tarfile
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from tadrib.ray_jobs.kube.release import read_release
from tadrib.training.config import METHODS, load_spec, parse_spec
from tadrib.training.config.yaml.file import parse_yaml
from tadrib.training.data.report.check import check_data
from tests.charts.helm import CHARTS, EXAMPLES, JOB_VALUES, PRESETS, a_job, helm, of_kind, one, render
from tools import chart_schema as make_schema
from tools.chart_values import TrainingJobValues

IDS = [path.stem for path in EXAMPLES]
ELASTIC = "resources: {num_workers: {min: 2, max: 5}, gpus_per_worker: 1, cpus_per_worker: 2.5}\n"


def render_text(text, tmp_path, platform=None):
    """What the chart makes of a spec given as a file."""
    path = tmp_path / "spec.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    values = {"platform": {"storage": {"claim": "tadrib"}, **(platform or {})}}
    return render("training-job", values, tmp_path, "--set-file", f"jobs.run.specFile={path}")


def config_map(objects):
    (found,) = [
        each
        for each in of_kind(objects, "ConfigMap")
        if "test" not in str(each["metadata"].get("annotations"))
    ]
    return found


def group_of(objects):
    (group,) = one(objects, "RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return group


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_bytes_of_the_spec_are_the_bytes_of_the_config_map(path, tmp_path):
    data = config_map(render_text(path.read_bytes(), tmp_path))["data"]
    assert data == {f"{load_spec(path).name}.yaml": path.read_bytes().decode()}


@pytest.mark.parametrize(
    "text",
    [
        "method: dpo\r\nname: run\r\ndataset_path: d\r\n",
        "method: dpo\nname: run\ndataset_path: d",
        "\n\n# تعليق 🌙 {{ .Values }} $HOME `id`\nmethod: dpo\nname: run\ndataset_path: بيانات/صفوف.jsonl\n\n\n",
        '  \n"method": dpo\nname: "run"   # trailing blanks  \ndataset_path: "d: #e"\t\n',
        "method: dpo\nname: run\nlearning_rate: 5.0e-6\nmax_steps: 3000000\ndataset_path: 'a''b'\n",
    ],
    ids=["CRLF", "no newline at the end", "Arabic, an emoji, templates", "quotes and blanks", "numbers"],
)
def test_any_text_of_a_spec_is_kept(text, tmp_path):
    assert config_map(render_text(text, tmp_path))["data"] == {"run.yaml": text}


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_workers_are_as_many_as_the_launcher_uses(path, tmp_path):
    spec, group = load_spec(path), group_of(render_text(path.read_bytes(), tmp_path))
    assert group["maxReplicas"] == spec.world_size
    assert group["replicas"] == group["minReplicas"] == spec.resources.min_workers
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert float(limits["cpu"]) == spec.resources.cpus_per_worker
    assert limits["memory"] == (spec.resources.memory_per_worker or "8Gi")
    assert int(limits.get("nvidia.com/gpu", 0)) == spec.resources.gpus_per_worker
    assert int(group["rayStartParams"]["num-gpus"]) == spec.resources.gpus_per_worker


def test_bounds_of_an_elastic_run_are_those_of_the_launcher(tmp_path):
    text = f"method: dpo\nname: run\ndataset_path: d\n{ELASTIC}"
    spec, group = parse_spec(yaml.safe_load(text)), group_of(render_text(text, tmp_path))
    assert (group["minReplicas"], group["maxReplicas"]) == (spec.resources.min_workers, spec.world_size)
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "2.5"


def test_a_spec_without_resources_gets_what_the_launcher_takes_for_granted(tmp_path):
    spec, group = parse_spec({"method": "sft", "name": "run", "dataset_path": "d"}), None
    group = group_of(render_text("method: sft\nname: run\ndataset_path: d\n", tmp_path))
    assert (group["replicas"], group["maxReplicas"]) == (1, 1) == (spec.world_size, spec.world_size)
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert float(limits["cpu"]) == spec.resources.cpus_per_worker


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_a_spec_given_as_values_means_the_same_as_its_file(path, tmp_path):
    mapping, _ = parse_yaml(path.read_text(encoding="utf-8"))
    values = {"jobs": {"run": {"spec": mapping}}, "platform": {"storage": {"claim": "tadrib"}}}
    (text,) = config_map(render("training-job", values, tmp_path))["data"].values()
    carried, problems = parse_yaml(text)
    assert problems == []
    assert parse_spec(carried).to_mapping() == load_spec(path).to_mapping()


@pytest.mark.parametrize("path", [*PRESETS, *JOB_VALUES], ids=lambda path: path.stem)
def test_every_spec_in_a_values_file_is_one_that_the_image_accepts(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    assert {parse_spec(job["spec"], str(path)).method for job in jobs.values()} == {
        job["spec"]["method"] for job in jobs.values()
    }


def test_there_is_a_preset_for_each_method_and_one_for_all():
    methods = {"sft", "dpo", "kto", "ipo", "cpo", "simpo"}
    assert {path.stem for path in PRESETS} == {*methods, "all-methods"}
    for path in PRESETS:
        specs = [job["spec"] for job in yaml.safe_load(path.read_text())["jobs"].values()]
        assert {spec["method"] for spec in specs} == (methods if path.stem == "all-methods" else {path.stem})
        assert len({spec["dataset_path"] for spec in specs}) == 1


def test_one_row_can_serve_all_six_methods_as_the_preset_says(tmp_path):
    path, rows = tmp_path / "all.jsonl", []
    for number in range(20):
        prompt, chosen, rejected = f"سؤال {number}", f"جواب صحيح {number}", f"جواب خاطئ {number}"
        label = number % 2 == 0
        row: dict[str, object] = {
            "instruction": prompt,
            "response": chosen,
            "prompt": prompt,
            "chosen": chosen,
        }
        row |= {"rejected": rejected, "completion": chosen if label else rejected, "label": label}
        rows.append(json.dumps(row, ensure_ascii=False))
    path.write_text("\n".join(rows), encoding="utf-8")
    for method in METHODS:
        report = check_data(str(path), method, METHODS[method].config(), None)
        assert report.ok, method
        assert report.to_dict()["usable_rows"] == 20


def test_generated_values_and_schemas_are_current(capsys):
    assert make_schema.main(["--check"]) == 0, capsys.readouterr().err


def test_a_schema_that_knows_another_spec_is_out_of_date(tmp_path, capsys):
    charts = tmp_path / "charts"
    assert make_schema.main(["--charts", str(charts)]) == 0
    path = charts / "training-job" / "values.schema.json"
    schema = json.loads(path.read_text())
    del schema["$defs"]["Spec"]["properties"]["learning_rate"]
    path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    capsys.readouterr()
    assert make_schema.main(["--check", "--charts", str(charts)]) == 1
    assert capsys.readouterr().err == f"{path} is out of date; run `python -m tools.chart_schema`.\n"
    assert make_schema.main(["--charts", str(charts)]) == 0
    assert make_schema.main(["--check", "--charts", str(charts)]) == 0


def test_the_schema_is_valid_draft_07_and_takes_the_defaults():
    for chart in make_schema.CHARTS:
        schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
        assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
        jsonschema.Draft7Validator.check_schema(schema)
        jsonschema.Draft7Validator(schema).validate(
            yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
        )


def test_every_object_of_the_schema_says_which_keys_it_has():
    schema = make_schema.values_schema(TrainingJobValues)
    assert schema["additionalProperties"] is False
    for name, definition in schema["$defs"].items():
        assert definition["additionalProperties"] is False, name


def test_charts_and_project_have_one_version():
    version = tomllib.loads((CHARTS.parent / "pyproject.toml").read_text())["project"]["version"]
    for chart in ("tadrib-library", "training-job", "ray-cluster"):
        metadata = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
        assert (metadata["version"], metadata["appVersion"]) == (version, version)


def test_both_charts_hold_the_library_itself_and_not_a_copy():
    for chart in ("training-job", "ray-cluster"):
        link = CHARTS / chart / "charts" / "tadrib-library"
        assert link.is_symlink()
        assert link.resolve() == (CHARTS / "tadrib-library").resolve()
        assert Path(link.readlink()) == Path("../../tadrib-library")


@pytest.mark.parametrize("chart", ["training-job", "ray-cluster"])
def test_a_packaged_chart_is_whole(chart, tmp_path):
    assert helm("package", str(CHARTS / chart), "--destination", str(tmp_path)).returncode == 0
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = archive.getnames()
    assert f"{chart}/charts/tadrib-library/templates/_pod.tpl" in names
    assert not any("/ci/" in name for name in names)
    assert helm("template", "r", str(package)).returncode == 0


def test_a_small_job_of_the_test_helpers_is_valid(tmp_path):
    assert one(render("training-job", a_job(), tmp_path), "RayJob")


@pytest.mark.parametrize(
    "revision",
    [
        "12345e7",
        "1234567e890",
        "0x0123456789abcdef01",
        "1_000",
        "0o7",
        "on",
        "~",
        "12:30",
        "a\x85b",
        "a\u2028b",
    ],
    ids=ascii,
)
def test_a_text_that_looks_like_something_else_stays_a_text_in_values(revision, tmp_path):
    given = a_job(model_revision=revision, learning_rate=2e-05, seed=4294967295)
    (text,) = config_map(render("training-job", given, tmp_path))["data"].values()
    assert parse_yaml(text) == (given["jobs"]["run"]["spec"], [])


def test_a_run_named_like_a_number_is_rendered(tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text('method: sft\nname: "12345e7"\ndataset_path: rows.jsonl\nmodel_revision: "1234567e890"\n')
    values = tmp_path / "values.yaml"
    values.write_text("platform: {storage: {claim: tadrib}}\n")
    helm("version")  # skipped where there is none
    release = read_release(file, ["seed=7"], namespace="default", values=[values])
    objects = list(yaml.safe_load_all(release.render()))
    (text,) = config_map(objects)["data"].values()
    assert parse_spec(parse_yaml(text)[0]) == parse_spec(parse_yaml(file.read_text())[0] | {"seed": 7})
