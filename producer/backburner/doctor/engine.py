"""Whether a worker could start here: its own `--check` says, where a worker is set up on this machine."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

from backburner.doctor.finding import Finding, ok, wrong

_SETTINGS = ("BACKBURNER_MODEL", "BACKBURNER_ENGINE", "BACKBURNER_ENGINE_URLS")
_CHECK_SECONDS = 120.0
"""vLLM takes half a minute to import on a slow disk."""
_SHOWN_CHARACTERS = 500


def works_here(environment: Mapping[str, str]) -> bool:
    """Whether these variables set up a worker."""
    return any(environment.get(name) for name in _SETTINGS)


async def examine_engine() -> Finding:
    """What `backburner-worker --check --connect` says in this environment, by this Python."""
    checking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backburner_worker", "--check", "--connect"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ,
    )
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            said, complaint = await checking.communicate()
    except TimeoutError:
        return wrong(
            "engine",
            f"`backburner-worker --check --connect` took more than {_CHECK_SECONDS:.0f} s",
            "run it by hand",
        )
    finally:
        if checking.returncode is None:
            with suppress(ProcessLookupError):
                checking.kill()
            await checking.wait()
    text = _last_line(said if checking.returncode == 0 else complaint)
    if checking.returncode == 0:
        return ok("engine", text)
    return wrong("engine", text, "a worker would not start here; `backburner-worker --check --connect` says it again")


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("backburner-worker --check: ")[:_SHOWN_CHARACTERS] if lines else "it said nothing"
