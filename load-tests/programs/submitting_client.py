"""A child process: a client that submits. Each question `{"path"}`, or `{"items", "bytes"}`, is one whole submit.

The clock runs from the call to its return, when the job is sealed; the connections are made before.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backburner import Client
from backburner.inputs.source import Source
from measuring.cpu import cpu_seconds, peak_mib, reset_peak


def items(count: int, size: int) -> Iterator[dict[str, Any]]:
    """So many requests of so many bytes."""
    for number in range(count):
        body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} " + "x" * size}]}
        yield {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


async def submit(client: Client, source: Source) -> dict[str, Any]:
    """Submit once; time, CPU and the peak of the memory."""
    reset_peak()
    cpu, started = cpu_seconds(), time.monotonic()
    job = await client.submit(source)
    found = {"seconds": time.monotonic() - started, "cpu_seconds": cpu_seconds() - cpu, "peak_mib": peak_mib()}
    status = await job.status()
    return {**found, "sent": status.request_counts.total}


async def main() -> None:
    """Connect, then answer questions until there are none."""
    async with Client() as client:
        await client.submit(items(1, 1))
        print(json.dumps({"warm": True}), flush=True)
        loop = asyncio.get_running_loop()
        while question := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(question)
            source = Path(asked["path"]) if "path" in asked else items(asked["items"], asked["bytes"])
            print(json.dumps(await submit(client, source)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
