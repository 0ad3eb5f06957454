"""An environment with OpenAI's package of a certain release and nothing of ours: the worker's lock holds another."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

RELEASE = "3.57.0"
_BOUND_SECONDS = 170
_FOLDER = Path(__file__).parents[2] / "out" / f"openai-{RELEASE}"


def openai_python(missing_server: Callable[[str], NoReturn]) -> str:
    """The interpreter of that environment, which is made where it is not there yet."""
    python = _FOLDER / "bin" / "python"
    check = [str(python), "-c", f"import openai; assert openai.__version__ == {RELEASE!r}"]
    if python.exists() and subprocess.run(check, check=False).returncode == 0:
        return str(python)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(_FOLDER)], check=True, timeout=_BOUND_SECONDS)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", f"openai=={RELEASE}"], check=True, timeout=_BOUND_SECONDS
        )
    except (subprocess.SubprocessError, OSError) as error:
        missing_server(f"OpenAI's package cannot be installed: {error}")
    return str(python)
