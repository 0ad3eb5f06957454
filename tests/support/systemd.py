"""systemd's judge of units, `systemd-analyze`: the machine's own, else Debian's package in the user's cache."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_PACKAGES = ("systemd", "libsystemd-shared")
"""The second is a part of the first on older Debians."""
_DOWNLOAD_SECONDS = 120


class SystemdMissing(Exception):
    """systemd's programs cannot be had here."""


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `systemd-analyze` with these arguments. Raises `SystemdMissing`."""
    program, environment = _find()
    return subprocess.run(
        [program, "--no-pager", *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def _find() -> tuple[str, dict[str, str]]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    found = shutil.which("systemd-analyze")
    if found is not None:
        return found, environment
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "backburner" / "tests" / "systemd"
    program = folder / "usr" / "bin" / "systemd-analyze"
    if not program.is_file():
        _unpack(folder)
    libraries = sorted({str(file.parent) for file in folder.rglob("libsystemd-shared-*.so")})
    return str(program), {**environment, "LD_LIBRARY_PATH": ":".join(libraries)}


def _unpack(folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise SystemdMissing("systemd-analyze is not there, and neither is Debian's apt-get to get it with")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as part:
        got = [
            subprocess.run(
                ["apt-get", "download", package],
                cwd=part,
                capture_output=True,
                text=True,
                check=False,
                timeout=_DOWNLOAD_SECONDS,
            )
            for package in _PACKAGES
        ]
        if got[0].returncode:
            raise SystemdMissing(f"Debian's package systemd cannot be downloaded: {got[0].stderr.strip()[-200:]}")
        root = Path(part, "root")
        for file in Path(part).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(file), str(root)], check=True, timeout=_DOWNLOAD_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
        root.rename(folder)
