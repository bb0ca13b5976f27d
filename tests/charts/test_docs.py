# SPDX-License-Identifier: Apache-2.0
"""docs/kubernetes.md: its commands that name a chart or folder of this repository work, as far as no cluster is
needed."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.charts.helm import ROOT, helm, messages
from tests.manifests.test_manifests import build

PAGES = [
    ROOT / "docs" / "kubernetes.md",
    *sorted((ROOT / "charts" / "training-job" / "presets").glob("*.yaml")),
]


def commands(path):
    """Each command of a page's bash blocks; of a values file, the one in its head."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return re.findall(r"^# Install:\s+(.*)$", text, re.MULTILINE)
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


COMMANDS = [(path.name, command) for path in PAGES for command in commands(path)]
LOCAL = [pair for pair in COMMANDS if re.match(r"helm (install|upgrade) \S+ charts/", pair[1])]


@pytest.mark.parametrize(("page", "command"), LOCAL, ids=[f"{p}: {c[:40]}" for p, c in LOCAL])
def test_charts_render_as_written(page, command):
    _, verb, name, *rest = shlex.split(command, comments=True)
    if verb == "upgrade":
        rest.remove("--reset-then-reuse-values")
        install = next(c for p, c in LOCAL if p == page and c.startswith(f"helm install {name} "))
        rest += shlex.split(install)[4:]
    done = helm("template", name, *rest)
    assert done.returncode == 0, messages(done)
    assert re.search(r"^kind: Ray(Job|Cluster)$", done.stdout, re.MULTILINE)


def test_the_page_installs_upgrades_and_shares():
    said = " ".join(command for _, command in LOCAL)
    assert len(LOCAL) >= 13
    assert all(word in said for word in ("helm upgrade arabic-dpo", "charts/ray-cluster", "ci/kind-values"))


@pytest.mark.parametrize("folder", re.findall(r"-k manifests/(\S+)", PAGES[0].read_text()))
def test_folders_can_be_applied(folder):
    assert build(folder)


def test_keys_that_the_page_names_exist():
    values = (ROOT / "charts" / "training-job" / "values.yaml").read_text()
    for key in re.findall(r"`platform\.([A-Za-z.]+)`", PAGES[0].read_text()):
        for part in key.split("."):
            assert re.search(rf"^\s*{part}:", values, re.MULTILINE), key
