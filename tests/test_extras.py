# SPDX-License-Identifier: Apache-2.0
"""Without the packages of an extra every command says how to install it, and no command ends in a traceback."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tadrib.training.extras import PACKAGES
from tadrib.training.files.manifest import seal

ROOT = Path(__file__).parents[1]
SPEC = "method: sft\nname: run\ndataset_path: rows.jsonl\nmodel_name: models/tiny\n"
RAY, TRAINING, KUBERNETES = "tadrib[ray]", "tadrib[training]", "tadrib[kubernetes]"
ADDRESS = ("--address", "http://127.0.0.1:1")
# what each command needs, None where it does without
COMMANDS = {
    ("train", "spec.yaml"): RAY,
    ("launch", "spec.yaml"): RAY,
    ("submit", "spec.yaml", *ADDRESS): RAY,
    ("submit", "spec.yaml", "-k"): KUBERNETES,
    ("status", "run", *ADDRESS): RAY,
    ("status", "run", "-k"): KUBERNETES,
    ("logs", "run", *ADDRESS): RAY,
    ("logs", "run", "-k"): KUBERNETES,
    ("stop", "run", *ADDRESS): RAY,
    ("stop", "run", "-k"): KUBERNETES,
    ("list", *ADDRESS): RAY,
    ("list", "-k"): KUBERNETES,
    ("doctor", "spec.yaml"): KUBERNETES,
    ("validate", "spec.yaml"): None,
    ("plan", "spec.yaml"): None,
    ("presets",): None,
    ("render", "spec.yaml"): None,
    ("data", "check", "rows.jsonl", "--method", "sft"): TRAINING,
    ("data", "show", "rows.jsonl", "--method", "sft"): TRAINING,
    ("data", "clean", "rows.jsonl", "out.jsonl", "--method", "sft"): TRAINING,
    ("compare", "runs/run", "--prompt", "x"): TRAINING,
    ("convert", "file.gguf", "out"): TRAINING,
    ("merge", "file.yaml"): TRAINING,
    ("tiny-model", "out"): TRAINING,
    ("--version",): None,
}
PROGRAM = """
import contextlib, importlib.abc, io, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in REFUSED:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

REFUSED, COMMANDS = json.load(sys.stdin)
sys.meta_path.insert(0, Refuse())
from tadrib.ray_jobs.cli.app import app, main

found = [each.name or each.callback.__name__.replace('_', '-') for each in app.registered_commands]
said = []
for command in COMMANDS:
    sys.argv = ['tadrib', *command]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as error:
            code = error.code
        except BaseException as error:
            code = f'{type(error).__name__}: {error}'
    said.append([code, err.getvalue()])
print(json.dumps([found, said]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The names of all commands, and what each of `COMMANDS` ended with: its exit code and standard error."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "rows.jsonl").write_text(json.dumps({"instruction": "i", "response": "r"}) + "\n")
    (folder / "models" / "tiny").mkdir(parents=True)
    (folder / "runs" / "run" / "final").mkdir(parents=True)
    (folder / "runs" / "run" / "spec.yaml").write_text(SPEC)
    (folder / "runs" / "run" / "final" / "model.safetensors").write_bytes(b"weights")
    seal(folder / "runs" / "run" / "final")
    refused = [name for names in PACKAGES.values() for name in names]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([refused, list(COMMANDS)]),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    names, said = json.loads(done.stdout.splitlines()[-1])
    return names, dict(zip(COMMANDS, said, strict=True))


def test_every_command_is_tried(answers):
    assert set(answers[0]) | {"data"} == {command[0] for command in COMMANDS if command[0] != "--version"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_without_its_packages_says_how_to_install_them(answers, command):
    code, text = answers[1][command]
    extra = COMMANDS[command]
    assert isinstance(code, int), code
    assert "Traceback" not in text
    if extra is None:
        assert "pip install" not in text
    else:
        assert code == 2
        assert f"Install it with: pip install '{extra}'" in text


@pytest.mark.parametrize(
    "module", ["sft_trainer", "dpo_trainer", "preference_trainer", "trainers", "base_trainer"]
)
def test_a_trainer_without_its_packages_is_an_import_error_that_says_how_to_install_them(module):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"try:\n    import tadrib.training.{module}\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "torch: is not installed. Install it with: pip install 'tadrib[training]'" in done.stdout


@pytest.mark.parametrize("extra", PACKAGES)
def test_the_packages_of_an_extra_are_those_that_it_installs(extra):
    """Each that is imported by the name it is installed by; the others come with one of these."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    installed = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in listed} - {"tadrib"}
    assert installed <= set(PACKAGES[extra])
    assert all(importlib.util.find_spec(name) for name in PACKAGES[extra])
