"""A worker's source that settles every second delivery and tells what it does, until it is killed."""

import asyncio
import sys

from backburner_schemas.envelope import Envelope
from backburner_schemas.names import Lane
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.factory import open_source


async def main(pool: str, visibility: str) -> None:
    settings = WorkerSettings.load().model_copy(update={"sqs_visibility_seconds": int(visibility)})
    source = open_source(settings, settings.source_options, pool=pool, worker=settings.worker_id or "killed")

    async def revoked() -> None:
        print("revoked", flush=True)

    await source.start(revoked)
    while True:
        for found in await source.pull(dict.fromkeys(Lane, 50)):
            assert isinstance(found.message, Envelope)
            index = int(found.message.index)
            await source.begin(found)
            if index % 2:
                await source.settle(found)
                print("settled", index, flush=True)
            else:
                print("holds", index, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
