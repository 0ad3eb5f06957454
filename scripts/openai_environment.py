"""Makes an environment of its own for the stock `openai` package, beside the one that runs this: `.venv/openai`.

vLLM's lock holds an older release of it. Prints the path of the environment's Python; that is there within seconds the
first time, and at once from then on.
"""

import contextlib
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "requirements" / "openai.txt"
_FOLDER = Path(sys.prefix) / "openai"


class InstallationFailed(Exception):
    """The stock `openai` package cannot be installed; check that the network reaches a package index."""


def ensure(folder: Path = _FOLDER) -> Path:
    """The Python of the environment in that folder, which is made where it is missing or out of date.

    Raises `InstallationFailed` with what pip said last.
    """
    python, stamp = folder / "bin" / "python", folder / ".stamp"
    # Where it was made counts too: an environment that was copied has programs that point back.
    wanted = f"{folder}\n{sys.version}\n{REQUIREMENTS.read_text(encoding='utf-8')}"
    with _alone(folder):
        if not (python.exists() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
            stamp.unlink(missing_ok=True)
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
            _run(*pip, "-r", str(REQUIREMENTS))
            stamp.write_text(wanted, encoding="utf-8")
    return python


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Tests run side by side: one makes it, the others wait."""
    with folder.with_name(f"{folder.name}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        said = (ran.stderr or ran.stdout).strip().splitlines()[-5:]
        raise InstallationFailed("\n".join([InstallationFailed.__doc__ or "", *said]))


if __name__ == "__main__":
    try:
        print(ensure())
    except InstallationFailed as error:
        sys.exit(str(error))
