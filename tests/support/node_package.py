"""Packages of Node's that tests run as programs: installed once, into the user's cache."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_INSTALL_SECONDS = 180


class NodePackageMissing(Exception):
    """The package cannot be had here."""


def find_package(package: str, name: str, main: str) -> tuple[str, Path]:
    """Node, and the main file of that package, such as `azurite@3`. Raises `NodePackageMissing`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NodePackageMissing(f"Node and npm are needed for {package}")
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    folder = root / "backburner" / "tests" / package
    file = folder / "node_modules" / name / main
    if not file.is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as part:
            install = [npm, "install", "--prefix", part, "--no-save", "--no-package-lock", "--no-audit", "--no-fund"]
            done = subprocess.run(
                [*install, package], capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
            )
            if done.returncode:
                raise NodePackageMissing(f"npm could not install {package}: {done.stderr.strip()[-200:]}")
            with contextlib.suppress(OSError):
                # Another test process may have been faster.
                folder.mkdir()
                Path(part, "node_modules").rename(folder / "node_modules")
    return node, file
