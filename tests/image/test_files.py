# SPDX-License-Identifier: Apache-2.0
"""What the image's files promise, read from them; `make test-image` builds and runs the image itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata

import pytest

from tests.image.dockerfile import ROOT, dockerfile, is_sent
from trainer_image import smoke

TRAINER_IMAGE = ROOT / "trainer_image"
SCRIPTS = sorted(path.name for path in TRAINER_IMAGE.glob("*.sh"))


LOCKS = ("requirements.lock", "runtime.lock", "cuda.lock", "build.lock", "sbom.lock")
HASH = r"--hash=sha256:[0-9a-f]{64}"


def pins_with_hashes(name: str) -> list[str]:
    lines = (TRAINER_IMAGE / name).read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    return [line for line in lines if not line.startswith("#")]


def pins(name: str) -> list[str]:
    return [line.partition(" --hash")[0].strip() for line in pins_with_hashes(name)]


def final():
    return dockerfile()[1][-1]


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for text in final().texts("ENV") for word in text.split())


def test_the_user_is_a_number_so_that_kubernetes_can_see_it_is_not_root():
    assert final().texts("USER") == ["1000:1000"]


def test_nothing_is_copied_or_installed_after_root_was_left():
    names = [instruction.name for instruction in final().instructions]
    assert "COPY" not in names[names.index("USER") :]


def test_the_base_is_an_argument_pinned_to_one_release():
    [argument] = [i.text for i in dockerfile()[0] if i.text.startswith("BASE_IMAGE=")]
    assert re.search(r":\d+\.\d+\.\d+-[a-z-]+@sha256:[0-9a-f]{64}$", argument), argument
    assert {stage.base for stage in dockerfile()[1]} == {"${BASE_IMAGE}", "requirements"}


def test_no_remote_file_is_added():
    for stage in dockerfile()[1]:
        assert not stage.texts("ADD")
        assert not [
            text for text in stage.texts("RUN") if re.search(r"\b(curl|wget|git clone)\b|https?://", text)
        ]


def test_no_frontend_has_to_be_pulled():
    assert "syntax=" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_packages_come_from_the_lock_of_what_runs():
    [requirements] = [stage for stage in dockerfile()[1] if stage.name == "requirements"]
    [install] = [text for text in requirements.texts("RUN") if "$pip $install" in text]
    assert "--requirement /build/runtime.lock" in install
    assert "--requirement /build/cuda.lock" in install


def test_whatever_is_fetched_is_held_to_a_hash():
    """Nothing is resolved, so nothing that is not locked comes along; nor does a build fetch its backend."""
    [requirements] = [stage for stage in dockerfile()[1] if stage.name == "requirements"]
    [command] = [text for text in requirements.texts("RUN") if "$pip" in text]
    assert 'install="install --require-hashes --no-deps ' in command
    assert set(re.findall(r"(?:bin/pip|\$pip) (\$?\w+)", command)) == {"$install", "check"}
    assert "--no-build-isolation --requirement /build/runtime.lock" in command
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^INSTALL = .*pip install .*--no-deps", makefile, re.MULTILINE)
    fetching = [line for line in makefile.splitlines() if "$(INSTALL)" in line and "--editable ." not in line]
    assert len([line for line in fetching if "--require-hashes" in line]) == 3
    assert [line for line in fetching if "--require-hashes" not in line and "-r" in line.split()] == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_the_hashes_of_its_files(name):
    for pin in pins_with_hashes(name):
        assert re.fullmatch(rf"[a-z0-9._-]+(\[[a-z,-]+\])?==[^ ]+( ; [^#]+?)?( +{HASH})+", pin), pin[:80]


def test_torch_may_be_pytorch_s_own_build_for_cpus():
    for name in ("requirements.lock", "runtime.lock"):
        [torch] = [pin for pin in pins_with_hashes(name) if pin.startswith("torch==")]
        listed = (TRAINER_IMAGE / "torch_for_cpus.sha256").read_text().splitlines()
        for sha, wheel in (line.split() for line in listed):
            assert wheel.startswith(torch.split()[0].replace("==", "-") + "+cpu-")
            assert f"--hash=sha256:{sha}" in torch


def test_the_requirements_do_not_depend_on_our_code():
    [requirements] = [stage for stage in dockerfile()[1] if stage.name == "requirements"]
    assert requirements.texts("COPY") == [
        "trainer_image/build.lock trainer_image/cuda.lock trainer_image/runtime.lock trainer_image/sbom.lock /build/"
    ]


def test_settings_of_package_indexes_stay_out_of_the_image():
    """Arguments are recorded in the history of the stage that declares them; secrets are recorded nowhere."""
    declared = {text.split("=")[0] for text in final().texts("ARG")}
    assert declared == {"DEVICE", "VERSION", "REVISION", "BASE_IMAGE", "BASE_DIGEST"}
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"(INDEX_URL|TOKEN|PASSWORD)=\S", text)
    for secret in ("pip", "certificates"):
        assert f"--mount=type=secret,id={secret}" in text


@pytest.mark.parametrize(
    "name", ["HOME", "TMPDIR", "RAY_TMPDIR", "TADRIB_SCRATCH", "HF_HOME", "MPLCONFIGDIR"]
)
def test_every_place_that_is_written_is_on_the_declared_volume(name):
    assert final().texts("VOLUME") == ['["/tmp"]']
    assert (environment()[name] + "/").startswith("/tmp/")


def test_an_init_is_process_1_and_hands_signals_on():
    assert final().texts("ENTRYPOINT") == ['["tini", "--"]']


def test_the_build_ends_with_the_smoke_check_as_the_user_of_the_image():
    names = [(i.name, i.text) for i in final().instructions]
    [check] = [k for k, (name, text) in enumerate(names) if name == "RUN" and "smoke.py" in text]
    assert names.index(("USER", "1000:1000")) < check
    assert not [name for name, _ in names[check + 1 :] if name in ("RUN", "COPY")]


@pytest.mark.parametrize(
    "path", ["training/model/load.py", "ray_jobs/cli/app.py", "training/presets/zero2.json", "pyproject.toml"]
)
def test_what_the_build_needs_is_sent_to_it(path):
    assert (ROOT / path).is_file()
    assert is_sent(path)


@pytest.mark.parametrize(
    "path",
    [
        *(
            ".git/config",
            ".env",
            ".netrc",
            "pip.conf",
            "id_rsa",
            "trainer_image/pip.conf",
            ".venv/bin/python",
        ),
        *(
            "tests/tiny.py",
            "examples/data/sft_train.jsonl",
            "models/tiny/config.json",
            "runs/a/metrics.jsonl",
        ),
        *(
            "tools/get_helm.py",
            "training/__pycache__/models.cpython-311.pyc",
            "trainer_image/wheels/notes.txt",
        ),
    ],
)
def test_everything_else_is_not(path):
    assert not is_sent(path)


def test_what_is_copied_is_sent_to_the_build():
    for stage in dockerfile()[1]:
        for text in stage.texts("COPY"):
            sources = [] if "--from=" in text else text.split()[:-1]
            for source in sources:
                assert (ROOT / source).exists()
                assert is_sent(source), source


def test_the_lock_of_what_runs_is_part_of_the_whole_lock():
    def without_markers(name):
        return {(pin.split()[0], *re.findall(HASH, pin)) for pin in pins_with_hashes(name)}

    for name in ("runtime.lock", "build.lock", "sbom.lock"):
        assert without_markers(name) <= without_markers("requirements.lock")


def test_the_lock_of_what_runs_has_every_requirement_but_those_of_development():
    runtime, _, development = (TRAINER_IMAGE / "requirements.in").read_text().partition("# development\n")
    locked = {re.split(r"[=\[ ]", pin)[0].lower() for pin in pins("runtime.lock")}

    def names(text):
        return {re.split(r"[=\[ ]", line)[0].lower() for line in text.splitlines() if line and line[0] != "#"}

    assert names(runtime) <= locked
    assert names(development) - {"jsonschema"}, "the section is there"
    assert not names(development) & locked - {"jsonschema"}  # Ray needs that one


def test_what_torch_brings_for_cuda_has_a_lock_of_its_own():
    cuda = {pin.split("==")[0] for pin in pins("cuda.lock")}
    assert {"triton", "nvidia-cublas", "nvidia-nccl-cu13", "nvidia-nvjitlink"} <= cuda
    assert not cuda & {pin.split("==")[0] for pin in pins("runtime.lock")}


def test_the_version_of_the_image_is_that_of_the_project():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in final().texts("ARG")


def test_the_python_of_the_default_base_is_one_that_the_project_supports():
    [argument] = [i.text for i in dockerfile()[0] if i.text.startswith("BASE_IMAGE=")]
    assert re.search(r"python:3\.1[12]\.", argument)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_well_formed(name):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    subprocess.run(["bash", "-n", TRAINER_IMAGE / name], check=True)


def test_the_build_says_what_to_do_where_docker_does_not_answer():
    found = subprocess.run(
        [TRAINER_IMAGE / "build.sh"],
        env={"DOCKER": "no-such-program", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "no-such-program does not answer" in found.stderr


def bill_of(packages: dict[str, str]) -> str:
    project = {"name": "tadrib", "version": packages.pop("tadrib", "0")}
    components = [{"name": name, "version": version} for name, version in packages.items()]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"component": project}}
    return json.dumps({**bill, "components": components})


def test_the_smoke_check_holds_the_bill_of_materials_to_what_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(smoke, "HERE", tmp_path)
    here = {found.metadata["Name"]: found.version for found in metadata.distributions()}
    (tmp_path / smoke.SBOM).write_text(bill_of(dict(here)))
    assert smoke.check_sbom().startswith(f"{len(here)} packages")
    (tmp_path / smoke.SBOM).write_text(bill_of({**here, "torch": "1.0"}))
    with pytest.raises(smoke.Unfit, match=r"is not of what is installed: torch$"):
        smoke.check_sbom()


@pytest.mark.parametrize(
    ("base", "digest"),
    [
        (None, "sha256:65a9"),
        ("debian@sha256:" + "a" * 64, "sha256:aaaa"),
        ("debian-python:3.11", "sha256:1d"),
    ],
)
def test_the_digest_of_the_base_is_recorded(tmp_path, base, digest):
    """A stand-in for docker writes what it is called with, and the environment that it reads the values from."""
    program = tmp_path / "docker"
    program.write_text(
        '#!/bin/sh\ncase "$1" in\n  image) echo sha256:1d;;\n  build) echo "$BASE_DIGEST" "$@" > '
        f"{tmp_path}/called;;\nesac\n"
    )
    program.chmod(0o755)
    environment = {**os.environ, "DOCKER": str(program), "SBOM": str(tmp_path / "sbom.json")}
    environment.pop("BASE_IMAGE", None)
    if base:
        environment["BASE_IMAGE"] = base
    subprocess.run(["bash", TRAINER_IMAGE / "build.sh"], check=True, env=environment, capture_output=True)
    called = (tmp_path / "called").read_text()
    assert called.startswith(digest)
    assert "--build-arg BASE_DIGEST" in called
