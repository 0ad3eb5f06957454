"""Another process that knows an id alone: prints the answer to a handle, or a job's status and its custom_ids."""

import asyncio
import json
import sys

from backburner import Client


async def main(kind: str, name: str) -> None:
    async with Client() as client:
        if kind == "handle":
            print((await client.handle(name).result(timeout=60)).text)
            return
        job = client.job(name)
        found = [record.custom_id async for record in job.results()]
        print(json.dumps({"status": (await job.wait(timeout=60)).status, "custom_ids": found}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
