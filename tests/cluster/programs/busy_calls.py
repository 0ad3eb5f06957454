"""Calls that keep a gateway's CPU busy until a file is there; prints how many were answered with 200, as JSON.

usage: busy_calls.py HOST:PORT SIDE_BY_SIDE FILE
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import httpx2


async def _call(address, headers, finish):
    counts = {}
    while not finish.exists():
        # A connection each, so that new gateways get their share.
        async with httpx2.AsyncClient(base_url=f"http://{address}", headers=headers) as client:
            for _ in range(20):
                status = (await client.get("/v1/models")).status_code
                counts[status] = counts.get(status, 0) + 1
    return counts


async def _main(address, side_by_side, finish):
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    print("started", flush=True)
    several = await asyncio.gather(*(_call(address, headers, finish) for _ in range(side_by_side)))
    return {status: sum(one.get(status, 0) for one in several) for one in several for status in one}


print(json.dumps(asyncio.run(_main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))))
