"""A producer that never finishes: it submits so many of a file's lines, and waits for more to come.

`half_a_submit.py JOB_ID FILE COUNT DEADLINE_SECONDS`. Its cursor follows at once, also when all lines are sent: a test
sees how far it is.
"""

import asyncio
import itertools
import sys
from pathlib import Path

from backburner import Client
from backburner.submission import submission

submission._CURSOR_SECONDS = 0.0
submission._HEARTBEAT_SECONDS = 0.1


async def first_lines(file: Path, count: int):
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(itertools.islice(lines, count)):
            if number % 100 == 0:
                # A trickle: the cursor follows with each chunk that comes after.
                await asyncio.sleep(0.02)
            yield line
    await asyncio.Event().wait()


async def main(job_id: str, file: str, count: str, deadline: str) -> None:
    async with Client() as client:
        await client.submit(first_lines(Path(file), int(count)), job_id=job_id, deadline=float(deadline))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
