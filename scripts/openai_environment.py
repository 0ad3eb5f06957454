"""Makes an environment of its own for the stock `openai` package, beside the one that runs this: `.venv/openai`.

vLLM's lock holds an older release of it. Prints the path of the environment's Python; that is there within seconds the
first time, and at once from then on.
"""

import sys
from pathlib import Path

import extra_environment
from extra_environment import InstallationFailed

__all__ = ["InstallationFailed", "ensure"]

REQUIREMENTS = Path(__file__).parents[1] / "requirements" / "openai.txt"
_FOLDER = Path(sys.prefix) / "openai"


def ensure(folder: Path = _FOLDER) -> Path:
    """The Python of the environment in that folder, which is made where it is missing or out of date.

    Raises `InstallationFailed` with what pip said last.
    """
    return extra_environment.ensure(folder, REQUIREMENTS)


if __name__ == "__main__":
    try:
        print(ensure())
    except InstallationFailed as error:
        sys.exit(str(error))
