"""The Dockerfiles of docker/: what each must say, and that all say alike what they have in common."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*/Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROGRAMS = {
    "gateway": "backburner-gateway",
    "dispatcher": "backburner-dispatcher",
    "worker": "backburner-worker",
    "worker-accelerator": "backburner-worker",
    "worker-cpu": "backburner-worker",
}
_LINT_SECONDS = 30


def _lint(*words, text=None):
    program = Path(sys.prefix) / "bin" / "hadolint"
    command = [program, "--no-color", "--failure-threshold", "style", *words]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=_LINT_SECONDS)


def _words(instruction, text):
    return re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)


def test_each_part_has_its_dockerfile():
    assert {file.parent.name for file in DOCKERFILES} == PROGRAMS.keys()
    assert set(PROGRAMS.values()) <= PROJECT["scripts"].keys()


def test_hadolint_finds_nothing():
    found = _lint(*DOCKERFILES)
    assert (found.returncode, found.stdout) == (0, "")


def test_hadolint_would_find_something():
    found = _lint("-", text="FROM debian\nRUN apt-get update\n")
    assert found.returncode != 0
    assert "DL3006" in found.stdout


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_an_image_runs_its_program_as_a_user_who_is_not_root(file):
    text = file.read_text()
    final = text[text.rindex("\nFROM ") :]
    assert _words("USER", final)[-1] == "10001:10001"
    assert _words("ENTRYPOINT", final) == [f'["{PROGRAMS[file.parent.name]}"]']
    assert not _words("CMD", final)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_a_base_image_is_a_build_argument(file):
    text = file.read_text()
    stages = {name for line in _words("FROM", text) for name in re.findall(r" AS (\w+)$", line)}
    arguments = {f"${{{line.split('=')[0]}}}" for line in _words("ARG", text[: text.index("\nFROM ")])}
    for line in _words("FROM", text):
        assert line.split()[0] in stages | arguments


def test_the_program_is_built_alike_in_all_images():
    stages = [
        re.search(r"FROM dependencies AS program\n(.*?)\n\nFROM ", file.read_text(), re.DOTALL) for file in DOCKERFILES
    ]
    assert len({stage[1] for stage in stages}) == 1


def test_what_is_copied_is_let_into_the_build_and_nothing_else_is():
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for file in DOCKERFILES
        for line in _words("COPY", file.read_text())
        if not line.startswith("--from")
        for source in line.split()[:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in let_in)


@pytest.mark.parametrize("extra", ["dispatcher", "gateway", "kafka", "worker"])
def test_the_layer_of_dependencies_has_what_the_extra_asks_for(extra):
    printed = _requirements(extra)
    assert {Requirement(line).name for line in printed} == _asked_for(extra)


def _asked_for(extra):
    """By the installed project's own metadata, an extra that it names of itself followed."""
    asked = set()
    for line in requires("backburner"):
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or (marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})):
            if requirement.name == "backburner":
                asked |= {name for inner in requirement.extras for name in _asked_for(inner)}
            else:
                asked.add(requirement.name)
    return asked


def _requirements(*words):
    program = [sys.executable, ROOT / "docker" / "requirements.py", *words]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True, timeout=_LINT_SECONDS)
    return ran.stdout.splitlines()


def test_a_distribution_that_the_base_image_brings_can_be_left_out():
    assert set(_requirements("worker")) - set(_requirements("worker", "--without", "vllm")) == {
        line for line in PROJECT["optional-dependencies"]["worker"] if line.startswith("vllm")
    }


def test_an_extra_that_there_is_not_is_refused_with_those_that_there_are():
    program = [sys.executable, ROOT / "docker" / "requirements.py", "gatway"]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_LINT_SECONDS)
    assert ran.returncode != 0
    assert "no extra 'gatway'; it has dev, dispatcher, gateway" in ran.stderr


@pytest.fixture
def builder(tmp_path):
    """A stand-in for docker that writes down what it is asked."""
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@" >>"$(dirname "$0")/asked"\n')
    (tmp_path / "docker").chmod(0o755)

    def build(*parts, **variables):
        (tmp_path / "asked").unlink(missing_ok=True)
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
        program = [ROOT / "scripts" / "images.sh", *parts]
        ran = subprocess.run(program, env=env, capture_output=True, text=True, check=False, timeout=_LINT_SECONDS)
        asked = (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []
        return ran, asked

    return build


def test_make_images_builds_the_three_parts_under_the_projects_version(builder):
    ran, asked = builder()
    assert ran.returncode == 0
    version = PROJECT["version"]
    assert [line.split("--tag ")[1] for line in asked] == [
        f"backburner/{part}:{version} ." for part in ("gateway", "dispatcher", "worker")
    ]
    assert all(f"--build-arg VERSION={version} --build-arg REVISION=" in line for line in asked)
    assert not any("_IMAGE=" in line for line in asked)


def test_make_images_hands_a_base_image_and_a_registry_on(builder):
    _, asked = builder("worker", REGISTRY="registry.example.com/ml", TAG="7", VLLM_IMAGE="vllm/vllm-openai@sha256:0")
    (line,) = asked
    assert "--build-arg VLLM_IMAGE=vllm/vllm-openai@sha256:0 " in line
    assert line.endswith("--file docker/worker/Dockerfile --tag registry.example.com/ml/backburner/worker:7 .")


def test_make_images_names_the_parts_that_there_are(builder):
    ran, asked = builder("workers")
    assert (ran.returncode, asked) == (1, [])
    assert "there is no docker/workers; there are dispatcher/ gateway/" in ran.stderr
