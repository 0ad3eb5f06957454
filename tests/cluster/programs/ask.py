"""Sends one chat request by the SDK and waits for its answer's text; prints it as JSON. usage: ask.py BODY"""

import asyncio
import json
import sys

from backburner import Client

_SECONDS = 180.0


async def _main(body):
    async with Client() as client:
        handle = await client.enqueue(body=body)
        record = await handle.result(timeout=_SECONDS)
    return record.text


print(json.dumps(asyncio.run(_main(json.loads(sys.argv[1])))))
