# SPDX-License-Identifier: Apache-2.0
"""docs/kubernetes.md: its tadrib commands are ones that exist, and its values file is one that the chart takes."""

from __future__ import annotations

import re
import shlex

import pytest
import typer

from tadrib.ray_jobs.cli.app import app
from tests.charts.helm import ROOT, find_helm
from tests.kubernetes.ended_states import ENDED

PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
COMMANDS = re.findall(
    r"^(tadrib .*)$", "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)), re.MULTILINE
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_the_arguments_that_the_page_gives_them(command):
    _, name, *arguments = shlex.split(command, comments=True)
    commands = typer.main.get_command(app).commands
    assert commands[name].make_context(name, arguments)


def test_every_command_for_kubernetes_is_on_the_page():
    assert {command.split()[1] for command in COMMANDS} >= {
        "doctor",
        "render",
        "submit",
        "status",
        "logs",
        "stop",
        "list",
    }


def test_the_platform_of_the_page_renders(tadrib, tmp_path):
    if find_helm() is None:
        pytest.skip("no helm: set $HELM, or run `python tools/get_helm.py`")
    values = tmp_path / "platform.yaml"
    values.write_text(re.search(r"```yaml\n(# platform.yaml\n.*?)```", PAGE, re.DOTALL)[1])
    done = tadrib("render", str(ROOT / "examples" / "02-dpo.yaml"), "--values", str(values))
    assert done.code == 0, done.err
    assert "registry.example/tadrib:0.1.0" in done.out


def test_sentences_of_the_page_are_those_that_status_says():
    said = {told[1] for told in ENDED.values()}
    assert "failed: the head ran out of memory (limit 8Gi)" in said
    assert "`arabic-dpo failed: the head ran out of memory (limit 8Gi)`" in PAGE
