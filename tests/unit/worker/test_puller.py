"""What a pull brings is not lost, whenever it is cancelled."""

import asyncio
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from works import new_feeder, work

from backburner.runtime.notifier import Notifier
from backburner_schemas.names import Lane
from backburner_worker.puller import Puller
from backburner_worker.sources.base import Delivery
from backburner_worker.telemetry.telemetry import Telemetry


class SourceOfOne:
    """Gives one delivery when it is told to."""

    def __init__(self) -> None:
        self.come, self.delivery = asyncio.Event(), work().delivery

    def uncommitted(self) -> int:
        return 0

    async def pull(self, _budget: Mapping[Lane, int]) -> list[Delivery]:
        await self.come.wait()
        return [self.delivery]


async def test_what_came_in_the_moment_of_a_cancel_is_kept() -> None:
    source: Any = SourceOfOne()
    feeder = new_feeder(1)
    # One lane is full, so that its room is waited for as well.
    feeder.add(work(1, Lane.LOW))
    puller = Puller(source, feeder, Notifier(), Telemetry(CollectorRegistry()))
    pulling = asyncio.create_task(puller.pull())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    source.come.set()
    # The source's task ends in the first of these turns; the pull would go on in the next.
    await asyncio.sleep(0)
    pulling.cancel()
    await asyncio.wait([pulling])
    assert [*puller.arrived] == [source.delivery]
