"""Whether a client's memory stays flat: fresh clients, of which one submits many times what the other does.

Once with a file of many small lines, and once with an iterable of large items.
"""

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
_LARGE_ITEMS = (40, 400)
_LARGE_BYTES = 500_000
_SUBMIT = """
import asyncio, json, resource, sys, time
from backburner import Client
def items(count, size):
    for number in range(count):
        body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} " + "x" * size}]}
        yield {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
async def main():
    source = sys.argv[1] if len(sys.argv) == 2 else items(*map(int, sys.argv[1:]))
    started = time.monotonic()
    async with Client() as client:
        await client.submit(source)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": time.monotonic() - started, "peak_kib": peak}))
asyncio.run(main())
"""


def submit_memory(requests: int) -> Figures:
    """Submit a file of so many lines, and one of a twentieth, and large items: each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="backburner-load-") as folder, servers("fake", durable=False):
        found = {}
        for count in (requests // _FEWER, requests):
            path = Path(folder) / f"{count}.jsonl"
            _write(path, count)
            found[count] = _submit(count, "lines", str(path))
        few, many = (_submit(count, "large items", str(count), str(_LARGE_BYTES)) for count in _LARGE_ITEMS)
    small, large = found[requests // _FEWER], found[requests]
    ratios = small["peak_kib"] / large["peak_kib"], few["peak_kib"] / many["peak_kib"]
    ratio = min(ratios)
    return Figures(
        scenario="submit-memory",
        goal=GOAL,
        reached=ratio >= GOAL,
        ratio=ratio,
        low=ratio,
        high=max(ratios),
        requests_per_s=requests / large["seconds"],
        details={
            "small": small,
            "large": large,
            "requests": requests,
            "large_items": {"few": few, "many": many, "bytes": _LARGE_BYTES},
        },
    )


def _write(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} " + "x" * 350}]}
            line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")


def _submit(count: int, what: str, *source: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-c", _SUBMIT, *source], check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    peak, rate = found["peak_kib"] / 1024, count / found["seconds"]
    print(f"{count:9,} {what}: {peak:.0f} MiB at the most, {rate:,.0f} a second", flush=True)
    return found
