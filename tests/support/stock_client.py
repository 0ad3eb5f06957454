"""Programs of the stock `openai` package, run in an environment that holds nothing of Backburner."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

BOUND = 120


def run(python: Path, variables: Mapping[str, str], *arguments: object) -> str:
    """What the program prints. Of the variables it is given the two in which OpenAI's clients find a service."""
    two = {name: variables[name] for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY")}
    ran = subprocess.run(
        [python, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], **two},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"
    return ran.stdout
