# SPDX-License-Identifier: Apache-2.0
"""What Ray exports of a run is what `manifests/monitoring` lists and asks for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

LISTED = yaml.safe_load(
    (Path(__file__).parents[2] / "manifests" / "monitoring" / "metrics.yaml").read_text()
)["metrics"]

# a process of its own, as Ray exports under one port for each
EXPORT = """
import sys, time, urllib.request
import ray
from tadrib.ray_jobs.events import Metrics, Step
from tadrib.ray_jobs.driver.gauges import Gauges
from tadrib.training.config import load_spec

ray.init(address="local", include_dashboard=False, num_cpus=1)
gauges = Gauges(load_spec(sys.argv[1]))
gauges.advance(Step(3, 10, 0))
row = {"loss": 1.5, "tokens_per_second": 20.0, "mfu": 0.4, "rewards/margins": 0.7, "checkpoint_seconds": 2.0}
gauges.show(Metrics({**row, "skipped_steps": 1}))
gauges.show(Metrics({"loss": 1.25, "skipped_steps": 3}))
gauges.show(Metrics({"loss": float("nan")}))
gauges.restarted()
gauges.restarted()
node = ray.nodes()[0]
address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
page = ""
for _ in range(60):
    page = urllib.request.urlopen(address).read().decode()
    if page.count("# TYPE ray_tadrib_") >= int(sys.argv[2]):
        break
    time.sleep(1)
print(page)
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    spec = tmp_path_factory.mktemp("gauges") / "spec.yaml"
    spec.write_text("method: dpo\nname: seen\nmodel_name: a/b\ndataset_path: rows.jsonl\n")
    command = [sys.executable, "-c", EXPORT, str(spec), str(len(LISTED))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_listed_is_exported_as_its_type(page):
    exported = dict(re.findall(r"^# TYPE (ray_tadrib_\w+) (\w+)$", page, re.MULTILINE))
    assert exported == {name: facts["type"] for name, facts in LISTED.items()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", 1.25),  # the last one that is a number
        ("tokens_per_second", 20.0),
        ("step", 3.0),
        ("steps_planned", 10.0),
        ("progress", 0.3),
        ("mfu", 0.4),
        ("reward_margin", 0.7),
        ("checkpoint_stall_seconds", 2.0),
        ("nonfinite_steps_total", 3.0),
        ("restarts_total", 2.0),
    ],
)
def test_a_value_is_that_of_its_run(page, name, value):
    samples = re.findall(rf"^ray_tadrib_{name}{{(.*)}} (\S+)$", page, re.MULTILINE)
    assert [float(found) for _, found in samples] == [pytest.approx(value)]
    assert 'run="seen"' in samples[0][0]
    assert 'method="dpo"' in samples[0][0]
