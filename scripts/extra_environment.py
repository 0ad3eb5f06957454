"""Makes an environment of its own for tools whose packages do not get along with those of `.venv`, inside that folder.

It is there within seconds the first time, and at once from then on.
"""

import contextlib
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


class InstallationFailed(Exception):
    """Packages cannot be installed; check that the network reaches a package index."""


def ensure(folder: Path, requirements: Path) -> Path:
    """The Python of the environment in that folder, which is made where it is missing or out of date.

    Raises `InstallationFailed` with what pip said last.
    """
    python, stamp = folder / "bin" / "python", folder / ".stamp"
    # Where it was made counts too: an environment that was copied has programs that point back.
    wanted = f"{folder}\n{sys.version}\n{requirements.read_text(encoding='utf-8')}"
    with alone(folder):
        if not (python.exists() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
            stamp.unlink(missing_ok=True)
            run(sys.executable, "-m", "venv", "--clear", str(folder))
            pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
            run(*pip, "-r", str(requirements))
            stamp.write_text(wanted, encoding="utf-8")
    return python


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Tests run side by side: one makes what is in the folder, the others wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command: str) -> None:
    """Run a command. Raises `InstallationFailed` with what it said last."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        said = (ran.stderr or ran.stdout).strip().splitlines()[-5:]
        raise InstallationFailed("\n".join([InstallationFailed.__doc__ or "", *said]))
