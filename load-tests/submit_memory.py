"""Whether a client's memory stays flat: two fresh clients, one of which submits twenty times as many lines."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from figures import Figures
from servers import servers

GOAL = 0.8
"""Memory of the small submit over memory of the large one: the same, but for the noise of an allocator."""
_FEWER = 20
_PROGRAM = """
import asyncio, json, resource, sys, time
from backburner import Client
async def main():
    started = time.monotonic()
    async with Client() as client:
        await client.submit(sys.argv[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": time.monotonic() - started, "peak_kib": peak}))
asyncio.run(main())
"""


def submit_memory(requests: int) -> Figures:
    """Submit a file of so many lines, and one of a twentieth, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="backburner-load-") as folder, servers("fake", durable=False):
        found = {}
        for count in (requests // _FEWER, requests):
            path = Path(folder) / f"{count}.jsonl"
            _write(path, count)
            found[count] = _submit(path)
            print(
                f"{count:9,} lines: {found[count]['peak_kib'] / 1024:.0f} MiB at the most, "
                f"{count / found[count]['seconds']:,.0f} lines/s",
                flush=True,
            )
    small, large = found[requests // _FEWER], found[requests]
    ratio = small["peak_kib"] / large["peak_kib"]
    return Figures(
        scenario="submit-memory",
        goal=GOAL,
        reached=ratio >= GOAL,
        ratio=ratio,
        low=ratio,
        high=ratio,
        requests_per_s=requests / large["seconds"],
        details={"small": small, "large": large, "requests": requests},
    )


def _write(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} " + "x" * 350}]}
            line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")


def _submit(path: Path) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path)], check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found
