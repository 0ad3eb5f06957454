"""The wheel that users install: three packages, nothing beside them, and the entry points that make it run."""

import re
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"schemas": "backburner_schemas", "producer": "backburner", "worker": "backburner_worker"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", folder, ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


def info(wheel, name):
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path)


def test_it_holds_the_three_packages_and_nothing_else(wheel):
    tops = {path.split("/")[0] for path in wheel.namelist() if ".dist-info/" not in path}
    assert tops == set(PACKAGES.values())


@pytest.mark.parametrize(("folder", "package"), PACKAGES.items())
def test_every_file_of_a_package_is_in_it_and_it_is_typed(wheel, folder, package):
    here = ROOT / folder
    wanted = {path.relative_to(here).as_posix() for path in (here / package).rglob("*.py")} | {f"{package}/py.typed"}
    assert wanted == {path for path in wheel.namelist() if path.startswith(f"{package}/")}


@pytest.mark.parametrize("folder", PACKAGES)
def test_the_folders_above_the_packages_are_no_packages(folder):
    assert not (ROOT / folder / "__init__.py").exists()


def test_its_entry_points_are_there(wheel):
    found = ConfigParser()
    found.read_string(info(wheel, "entry_points.txt").decode())
    assert dict(found["console_scripts"]) == {
        "backburner": "backburner.cli:main",
        "backburner-dispatcher": "backburner.dispatcher.__main__:main",
        "backburner-gateway": "backburner.gateway.__main__:main",
        "backburner-worker": "backburner_worker.__main__:main",
    }
    assert dict(found["vllm.general_plugins"]) == {
        "backburner_parent_death": "backburner_worker.engine.vllm.parent_death:watch_parent"
    }
    for group in found.sections():
        for target in dict(found[group]).values():
            module, _, name = target.partition(":")
            path = module.replace(".", "/")
            (source,) = (one for one in (f"{path}.py", f"{path}/__init__.py") if one in wheel.namelist())
            assert name in wheel.read(source).decode()


def test_its_base_install_is_small_and_says_which_pythons_it_takes(wheel):
    metadata = message_from_bytes(info(wheel, "METADATA"))
    needs = metadata.get_all("Requires-Dist")
    base = {re.match(r"[a-z-]+", need)[0] for need in needs if "extra ==" not in need}
    assert base == {"obstore", "pydantic", "pydantic-settings", "rich", "structlog", "tenacity", "typer"}
    assert set(metadata.get_all("Provides-Extra")) == {
        "pandas",
        "polars",
        "kafka",
        "sqs",
        "worker",
        "dispatcher",
        "gateway",
        "local",
        "local-sqs",
        "openai-http",
        "dev",
    }
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert b"Apache License" in info(wheel, "licenses/LICENSE")
