# SPDX-License-Identifier: Apache-2.0
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny import tiny_model

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "data"
HEAVY = ("torch", "ray", "transformers", "datasets", "numpy", "pandas", "pyarrow")
GOOD = "method: sft\nname: demo\nmodel_name: Qwen/Qwen2.5-0.5B\ndataset_path: rows.jsonl\n"
FIVE_MISTAKES = """\
method: sft
name: Not A Name
dataset_path: rows.jsonl
learning_rte: 0.1
lora_r: eight
load_in_4bit: true
load_in_8bit: true
resources: {num_workers: 0}
"""


def tadrib(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    usual = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(cwd), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "tadrib", *arguments],
        cwd=cwd,
        env={**usual, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def spec_file(folder: Path, text: str = GOOD) -> str:
    path = folder / "spec.yaml"
    path.write_text(text)
    (folder / "rows.jsonl").touch()
    return str(path)


def test_validate_takes_under_a_second(tmp_path):
    """Of computing: a machine at other work gives it late."""
    spec, times = spec_file(tmp_path), []
    for _ in range(5):
        before = os.times()
        done = tadrib("validate", spec, cwd=tmp_path)
        after = os.times()
        times.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
        assert done.returncode == 0, done.stderr
    assert min(times) < 1.0


def test_validate_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom tadrib.ray_jobs.cli.app import app\n"
        f"sys.argv = ['tadrib', 'validate', {spec_file(tmp_path)!r}, '--show']\n"
        f"try:\n    app()\nfinally:\n    print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"


def test_validate_lists_all_mistakes_at_once_and_exits_2(tmp_path):
    done = tadrib("validate", spec_file(tmp_path, FIVE_MISTAKES), cwd=tmp_path)
    assert done.returncode == 2
    for key in ("name", "learning_rate", "lora_r", "load_in_4bit", "resources.num_workers"):
        assert key in done.stderr
    assert "Traceback" not in done.stderr


def test_validate_names_paths_that_are_not_here_with_the_nearest(tmp_path):
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    spec = spec_file(tmp_path)
    keys = ("dataset_path=row.jsonl", "eval_dataset_path=data/eval.jsonl", "model_name=models/tinny")
    done = tadrib("validate", spec, *keys, "deepspeed=ds.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "dataset_path: row.jsonl does not exist. Did you mean rows.jsonl?" in done.stderr
    assert (
        f"eval_dataset_path: data/eval.jsonl does not exist. There is no folder data in {tmp_path}"
        in done.stderr
    )
    assert "model_name: folder models/tinny does not exist. Did you mean models/tiny?" in done.stderr
    assert "deepspeed: ds.json does not exist" in done.stderr


def test_validate_takes_paths_of_a_volume_that_this_machine_lacks_and_says_so(tmp_path):
    keys = ("dataset_path=/mnt-of-pods/data/rows.jsonl", "model_name=/mnt-of-pods/models/qwen")
    done = tadrib("validate", spec_file(tmp_path), *keys, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("✓")
    for key in ("dataset_path: /mnt-of-pods/data/rows.jsonl", "model_name: folder /mnt-of-pods/models/qwen"):
        assert f"! {key} does not exist." in done.stderr
    assert done.stderr.count("It must exist where the run is executed.") == 2


def test_validate_looks_up_neither_hub_ids_nor_urls(tmp_path):
    keys = ("dataset_path=org/rows:train", "eval_dataset_path=s3://bucket/rows.jsonl", "method=dpo")
    done = tadrib("validate", spec_file(tmp_path), *keys, "ref_model_name=org/model", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("dataset_path=row.jsonl", "dataset_path: row.jsonl does not exist. Did you mean rows.jsonl?"),
        (
            "eval_dataset_path=/none/e.jsonl",
            "eval_dataset_path: /none/e.jsonl does not exist. There is no folder /none.",
        ),
        ("model_name=./tinny", "model_name: folder ./tinny does not exist. Did you mean tiny?"),
        ("model_name=models/tiny", "model_name: Hub name models/tiny: "),
        ("ref_model_name=./tinny", "ref_model_name: folder ./tinny does not exist. Did you mean tiny?"),
        ("deepspeed=ds.json", "deepspeed: ds.json does not exist"),
        ("resources.gpus_per_worker=1", "a worker of 1 CPU, 1 GPU was requested; Ray has"),
    ],
)
def test_train_finds_what_is_missing_in_seconds_without_a_ray(tmp_path, override, said):
    (tmp_path / "tiny").symlink_to(tiny_model())
    text = GOOD.replace("sft", "dpo").replace("Qwen/Qwen2.5-0.5B", "tiny")
    nothing_there = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "RAY_TMPDIR": str(tmp_path)}
    done = tadrib(
        "train", spec_file(tmp_path, text), override, cwd=tmp_path, RAY_ADDRESS="local", **nothing_there
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "ray").exists(), "a Ray was started"


def test_train_takes_fresh_as_its_messages_say(tmp_path):
    done = tadrib("train", spec_file(tmp_path), "--fresh", "dataset_path=row.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean rows.jsonl?" in done.stderr


def test_train_refuses_a_name_that_no_hub_can_be_asked_for_at_once(tmp_path):
    """Loading would try for minutes; here nobody listens at the Hub's address."""
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    start = time.perf_counter()
    done = tadrib("train", spec_file(tmp_path), cwd=tmp_path, **nobody)
    assert done.returncode == 2
    assert "model_name: Hub name Qwen/Qwen2.5-0.5B: " in done.stderr
    assert f"({tmp_path}/Qwen/Qwen2.5-0.5B does not exist)" in done.stderr
    assert not (tmp_path / "runs").exists()
    assert time.perf_counter() - start < 30


def test_validate_show_tells_given_default_and_adjusted_apart(tmp_path):
    done = tadrib("validate", spec_file(tmp_path), "lora_r=4", "--show", cwd=tmp_path)
    origins = {line.split()[0]: line.split()[2] for line in done.stdout.splitlines() if len(line.split()) > 2}
    assert origins["lora_r"] == "given"
    assert origins["lora_alpha"] == "default"
    assert origins["evaluation_strategy"] == "adjusted"


def test_a_command_line_mistake_exits_2_without_a_traceback(tmp_path):
    done = tadrib("train", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_train_refuses_an_object_store_that_does_not_answer_before_anything_starts(tmp_path):
    url = "s3://bucket/runs?endpoint_override=127.0.0.1:9&scheme=http&allow_bucket_creation=x"
    done = tadrib("train", spec_file(tmp_path), f"storage_path={url}", cwd=tmp_path)
    assert done.returncode == 2
    assert "s3://bucket/runs/demo?endpoint_override=127.0.0.1:9" in done.stderr
    assert "could not open" in done.stderr


def test_a_cluster_that_does_not_answer_is_reported_in_seconds_with_exit_code_3(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        done = tadrib("train", spec_file(tmp_path), cwd=tmp_path, RAY_ADDRESS=address)
    assert done.returncode == 3
    assert f"RAY_ADDRESS={address}: ConnectionError: nothing answers there. Check the address" in done.stderr


def test_data_check_prints_what_is_in_the_data(tmp_path):
    done = tadrib("data", "check", str(DATA / "sft_train.jsonl"), "--method", "sft", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Training accepts these data." in done.stdout
    for label in ("rows", "repeated", "Arabic letters", "p50", "completion"):
        assert label in done.stdout


def test_data_check_without_a_method_says_where_it_may_come_from(tmp_path):
    done = tadrib("data", "check", "rows.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "--method: is missing, and no --spec was given that has it. Use one of sft" in done.stderr


def test_data_check_gives_json_and_exits_2_on_data_that_training_would_refuse(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": "b"}\n')
    done = tadrib("data", "check", str(rows), "--method", "dpo", "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == 2
    assert (report["rows"], report["bad_rows"]) == (2, 1)


def test_an_unknown_method_gets_the_nearest_name(tmp_path):
    done = tadrib("data", "check", "rows.jsonl", "--method", "simpoo", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean simpo?" in done.stderr
