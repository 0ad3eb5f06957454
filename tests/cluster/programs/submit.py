"""Submits jobs, `NAME=COUNT[=MODEL]` each, by the SDK; prints their names. `--stored` leaves them to the dispatcher."""

import asyncio
import json
import sys

from harness.asked import parse

from backburner import Client


async def _main(words):
    stored = "--stored" in words
    jobs = parse([word for word in words if not word.startswith("--")])
    async with Client() as client:
        for name, asked in jobs.items():
            await client.submit([one.line for one in asked], job_id=name, stored=stored)
    return [*jobs]


print(json.dumps(asyncio.run(_main(sys.argv[1:]))))
