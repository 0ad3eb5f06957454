"""One pull within the room that the feeder has, broken off where more room would be worth another pull."""

import asyncio

from backburner_schemas.names import Lane
from backburner_worker.process.notifier import WakeUp
from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.sources.base import Delivery, Source


async def pull_within(source: Source, feeder: Feeder, changed: WakeUp) -> list[Delivery]:
    """Pull; nothing where a lane that was full has room again and was not asked for. `changed` tells of new room."""
    budget = feeder.budget()
    if len(budget) == len(Lane):
        return await source.pull(budget)
    pull = asyncio.ensure_future(source.pull(budget))
    room = asyncio.ensure_future(changed.until(lambda: feeder.reopened(budget)))
    try:
        await asyncio.wait({pull, room}, return_when=asyncio.FIRST_COMPLETED)
        return await pull if pull.done() else []
    finally:
        room.cancel()
        pull.cancel()
